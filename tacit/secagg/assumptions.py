"""How many sites may lie or drop out, and the neighbourhoods that bear it."""

import math
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Final

from tacit.errors import ConfigurationError
from tacit.secagg.wire import digest

ALL_WITH_ALL: Final = 64
"""Up to so many sites everybody masks with everybody: nothing has to be assumed about chance."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a sum of more than 64 sites rests on; smaller ones need less than a third corrupt only.

    Parameters
    ----------
    corrupt_percent
        At most so many of the cohort's sites work for the server, in percent, below 33. Which ones
        is settled before a round's neighbourhoods are drawn.
    dropout_percent
        So many of a round's sites drop out by themselves, in percent, below 33.
    security_bits
        The chance that neighbourhoods are drawn that do not protect is at most 2**-security_bits.
    failure_bits
        The chance that a round is lost though no more sites drop out is at most 2**-failure_bits.
    tries_bits
        How often the server can draw neighbourhoods for one round until it likes them: at most
        2**tries_bits. They are drawn by a hash of the round's advertisements, and a server that
        leaves some out, or has its colluders make new ones, draws again as fast as it can hash.
        2**60 is about a day of a thousand graphics cards, at 10**10 hashes a second each.

    Raises
    ------
    ConfigurationError
        A number is out of its range.
    """

    corrupt_percent: int = 10
    dropout_percent: int = 10
    security_bits: int = 40
    failure_bits: int = 20
    tries_bits: int = 60

    def __post_init__(self) -> None:
        for name, value, most in (
            ("corrupt_percent", self.corrupt_percent, 32),
            ("dropout_percent", self.dropout_percent, 32),
            ("security_bits", self.security_bits, 128),
            ("failure_bits", self.failure_bits, 128),
            ("tries_bits", self.tries_bits, 128),
        ):
            if not 0 <= value <= most:
                raise ConfigurationError(f"{name}={value} of a secure sum must be in 0..{most}")

    def to_bytes(self) -> bytes:
        """Write them, for the context's digest."""
        return digest(*(number.to_bytes(1, "big") for number in astuple(self)))


def quorum(sites: int) -> int:
    """Return how many of a cohort must take part in every stage: more than two thirds.

    Bonawitz et al. 2017 (doi:10.1145/3133956.3133982), section 6 on active adversaries: against a
    server with c colluders 2t > n + c is needed, and t = ⌊2n/3⌋ + 1 gives it for every c < n/3. Two
    lists that a quorum signed have 2t - n > c signers in common, one of them honest, and that one
    signs one list: so there are never two.
    """
    return 2 * sites // 3 + 1


def colluders_borne(sites: int, fewest: int) -> int:
    """Return how many sites may work with the server and learn no more of others than a sum.

    Parameters
    ----------
    sites
        Of a sum's cohort.
    fewest
        Vectors without which no site helps to open a sum.

    Notes
    -----
    Fewer than a third of all, so that there are no two lists of survivors (`Cohort.quorum`), and
    above `ALL_WITH_ALL` what is assumed of neighbourhoods. Where nobody may be missing there is one
    list only, whoever colludes.
    """
    if sites > ALL_WITH_ALL:
        return min((sites - 1) // 3, Assumptions().corrupt_percent * sites // 100)
    return sites - 1 if fewest >= sites else (sites - 1) // 3


@dataclass(frozen=True, slots=True)
class Degree:
    """How large neighbourhoods are.

    Parameters
    ----------
    neighbours
        With how many others a site masks.
    threshold
        How many of a site's holders, who are its neighbours and itself, have its secrets together.
    """

    neighbours: int
    threshold: int


@lru_cache(maxsize=256)
def degree(advertised: int, cohort: int, assumptions: Assumptions) -> Degree:
    """Return the smallest neighbourhoods that bear what is assumed.

    Parameters
    ----------
    advertised
        Sites that advertised keys for this round: as many as a quorum of the cohort, or more.
    cohort
        Sites that might have.
    assumptions
        What is assumed of them.

    Notes
    -----
    Neighbours are the k/2 next sites on either side on a ring in random order: a Harary graph over
    a random permutation, as in section 3 of Bell et al. 2020 (CCS 2020, IACR eprint 2020/704). The
    shape of the conditions is theirs too: no site has too many corrupt neighbours, the honest
    survivors hang together, enough holders survive, each by a hypergeometric tail and a sum over
    all sites. There, sites drop out regardless of the ring; here the server chooses who does after
    it has seen the ring, so that the first two conditions become one, as follows.

    All honest sites unmask by one list of survivors (`Cohort.quorum`), and only sites on it reveal
    shares. Let the server learn the sum of a part S of the honest survivors, not of all: then no
    survivor of S neighbours an honest survivor outside S, whose common mask would be left. S and
    the rest then lie on the ring with at least k/2 places between them, filled by corrupt sites
    and ones called dropped. Let i be the last of S before such a stretch, c the corrupt sites in
    the k/2 places after it. Holders that can give i's self-mask to the server are at most: i, the
    k/2 before it, and the c. So t of them are there only if c ≥ t - 1 - k/2. This number of corrupt
    sites among k/2 places drawn without replacement is hypergeometric; there are two sides, as
    many sites as advertised, and 2**tries_bits rings. Where it does not happen, a site also has
    fewer than 2t - k - 1 corrupt neighbours, so that the holders alone, without the list, would
    not give both secrets of it.

    A round is lost if a site that dropped out has more than k - t neighbours that did.
    """
    everybody = Degree(advertised - 1, quorum(cohort))
    if advertised <= ALL_WITH_ALL:
        return everybody
    corrupt = min(assumptions.corrupt_percent * cohort // 100, advertised - 1)
    dropped = assumptions.dropout_percent * advertised // 100
    others = advertised - 1
    safe = -assumptions.security_bits - assumptions.tries_bits - math.log2(2 * advertised)
    works = -assumptions.failure_bits - math.log2(advertised)
    for half in range(1, others // 2):
        k = 2 * half
        # More than two thirds of the holders, as of all sites.
        for threshold in range(2 * (k + 1) // 3 + 1, k + 1):
            if log2_tail(threshold - 1 - half, others, corrupt, half) > safe:
                continue  # a higher threshold is safer
            if log2_tail(k - threshold + 1, others, dropped, k) <= works:
                return Degree(k, threshold)
            break  # a higher threshold bears fewer dropouts
    return everybody


def log2_tail(least: int, population: int, marked: int, drawn: int) -> float:
    """Return log2 of the chance that of those drawn at least `least` are marked.

    Drawn without replacement: the hypergeometric tail, minus infinity where it cannot happen.
    """
    from scipy.stats import hypergeom  # here: it takes a second, and up to 64 sites need none

    if least > min(marked, drawn):
        return -math.inf
    return float(hypergeom.logsf(least - 1, population, marked, drawn)) / math.log(2)
