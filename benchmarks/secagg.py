"""CPU time of whole secure sums, all parties in one process: ``python -m benchmarks.secagg``.

Every party does all of its own work: each site checks every signature that it must, though others
in the process checked the same one. Flower's legacy SecAgg+ does the same sum in the same run,
without its rounding to integers, which is timed apart. Figures are medians. About two minutes.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from rich.console import Console
from rich.table import Table

from benchmarks.report import print_json
from tacit.secagg.context import Cohort, Context, Modulus
from tacit.secagg.masks import Mask, Vector, apply
from tacit.secagg.server import Server
from tacit.secagg.site import Site
from tacit.trust.keys import make_identity, public_bytes

MILLION: Final = 1_000_000
MASKS: Final = 10
MANY_REPEATS: Final = 3
"""Of rounds of a hundred sites, which take long."""


@dataclass(frozen=True, slots=True)
class Taken:
    """CPU seconds of a round, and bytes of all its messages in both directions."""

    seconds: float
    sent: int


def secure_round(sites: int, length: int, modulus: Modulus, dropped: int = 0) -> Taken:
    """Time one round, in which some sites send no vector; its sum is checked.

    Raises
    ------
    RuntimeError
        What came out is not the sum.
    """
    identities = {f"site{number:03d}": make_identity() for number in range(sites)}
    cohort = Cohort({name: public_bytes(key.public_key()) for name, key in identities.items()})
    context = Context("benchmark", 0, cohort, modulus, length, bytes(32), bytes(32))
    # One vector for all: a hundred would be made, not summed, in much of the time.
    vector = np.random.default_rng(0).integers(0, 2**modulus.value, length, modulus.dtype)
    sent = 0

    def ask(requests: dict[str, bytes], answer: Callable[[Site, bytes], bytes]) -> None:
        nonlocal sent
        for name, request in requests.items():
            reply = answer(parties[name], request)
            sent += len(request) + len(reply)
            server.receive(name, reply)

    started = time.process_time()
    server = Server(context)
    parties = {name: Site(context, name, key) for name, key in identities.items()}
    ask(dict.fromkeys(parties, b""), lambda site, _: site.advertise())
    ask(server.directory(), lambda site, request: site.share(request))
    dealt = dict(list(server.dealt().items())[dropped:])
    ask(dealt, lambda site, request: site.mask(request, vector))
    ask(server.survivors(), lambda site, request: site.agree(request))
    ask(server.agreements(), lambda site, request: site.reveal(request))
    total = server.total()
    seconds = time.process_time() - started
    expected = (vector.astype(np.uint64) * (sites - dropped)).astype(modulus.dtype)
    if server.faults or not np.array_equal(total.vector, expected):
        raise RuntimeError(f"the sum is wrong: {server.faults}")
    return Taken(seconds, sent)


def masks_over_raw(modulus: Modulus, repeats: int) -> float:
    """Return the time of masks over that of as many raw keystreams and additions, at a million."""
    dtype = modulus.dtype
    vector: Vector = np.zeros(MILLION, dtype)
    zeros, keystream = bytes(vector.nbytes), bytearray(vector.nbytes)
    numbers = np.frombuffer(keystream, dtype)

    def raw() -> None:
        for _ in range(MASKS):
            cipher = Cipher(algorithms.AES(os.urandom(32)), modes.CTR(bytes(16))).encryptor()
            cipher.update_into(zeros, keystream)
            np.add(vector, numbers, out=vector)

    def ours() -> None:
        apply([Mask(os.urandom(32)) for _ in range(MASKS)], vector)

    return statistics.median(_cpu(ours) / _cpu(raw) for _ in range(repeats))


def _cpu(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    """Print a table with the bars and, as the last line, the figures as one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.secagg")
    parser.add_argument("--repeats", type=int, default=5, help="of all but the hundred sites")
    parser.add_argument("--length", type=int, default=MILLION, help="numbers in a vector")
    parser.add_argument("--many", type=int, default=100, help="sites of the large round")
    asked = parser.parse_args()
    # Before Flower is imported: nobody's benchmark phones home.
    os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1")
    from benchmarks.secagg_flower import flower_round

    length, repeats = asked.length, range(asked.repeats)
    ours, complete, five, rounding = [], [], [], []
    for _ in repeats:  # in turn, so that a slow spell hits all
        ours.append(secure_round(10, length, Modulus.BITS_32).seconds)
        theirs, fewer = flower_round(10, length), flower_round(10, length, shares=5)
        complete.append(theirs.whole - theirs.rounding)
        five.append(fewer.whole - fewer.rounding)
        rounding.append(theirs.rounding)
    dropouts = [secure_round(10, length, Modulus.BITS_32, dropped=2).seconds for _ in repeats]
    ten = secure_round(10, length, Modulus.BITS_32)
    half = secure_round(10, length, Modulus.BITS_16)
    many, many_dropouts = [], []
    for _ in range(MANY_REPEATS):
        many.append(secure_round(asked.many, length, Modulus.BITS_32))
        fewer_sites = secure_round(asked.many, length, Modulus.BITS_32, dropped=asked.many // 20)
        many_dropouts.append(fewer_sites.seconds)

    figures = {
        "cpu_seconds_10x1m": statistics.median(ours),
        "cpu_seconds_10x1m_2_dropped": statistics.median(dropouts),
        "cpu_seconds_100x1m": statistics.median(each.seconds for each in many),
        "cpu_seconds_100x1m_5_dropped": statistics.median(many_dropouts),
        "flower_cpu_seconds_10x1m": statistics.median(complete),
        "flower_cpu_seconds_10x1m_5_shares": statistics.median(five),
        "flower_rounding_cpu_seconds_10x1m": statistics.median(rounding),
    }
    fp32 = 4 * length
    ratios = {
        "flower_over_ours": _median_ratio(complete, ours),
        "flower_5_shares_over_ours": _median_ratio(five, ours),
        "masks_over_raw": masks_over_raw(Modulus.BITS_32, asked.repeats),
        "masks_over_raw_16_bits": masks_over_raw(Modulus.BITS_16, asked.repeats),
        "wire_over_fp32_10x1m": ten.sent / (10 * fp32),
        "wire_over_fp32_10x1m_16_bits": half.sent / (10 * fp32),
        "wire_over_fp32_100x1m": many[0].sent / (asked.many * fp32),
    }
    bars = {
        "cpu_seconds_10x1m": "≤ 0.5",
        "cpu_seconds_100x1m": "≤ 12",
        "flower_over_ours": "≥ 4",
        "masks_over_raw": "≤ 2",
        "wire_over_fp32_10x1m": "≤ 1.1",
        "wire_over_fp32_10x1m_16_bits": "≤ 0.6",
        "wire_over_fp32_100x1m": "≤ 1.1",
    }
    medians = f"medians of {asked.repeats}, of {asked.many} sites of {MANY_REPEATS}"
    table = Table(title=f"Secure sums of {length:,} numbers, {medians}")
    for heading in ("figure", "measured", "bar"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for name, value in {**figures, **ratios}.items():
        table.add_row(name, f"{value:.3f}", bars.get(name, ""))
    Console().print(table)
    print_json("secagg", figures, ratios)


def _median_ratio(theirs: list[float], ours: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


if __name__ == "__main__":
    main()
