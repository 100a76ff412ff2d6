"""A round of which the coordinator sees the sum only: the stages around training, over the grid."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from server.replies import MALFORMED, NO_REPLY, reason_of, sort_replies
from strategies.records import numbers_of, record_in
from tacit.errors import TooFewSitesError
from tacit.joint_plan import JointPlan
from tacit.messages import ARRAYS, SECURE, SUM, SecureRequest, SecureStage
from tacit.secagg.context import Cohort, Context, Modulus
from tacit.secagg.server import Server

log = logging.getLogger(__name__)

STAGE_SECONDS: Final = 60.0
"""Longest wait for a stage in which sites compute next to nothing."""
_AROUND_VECTOR: Final = 1 << 20
"""Most bytes of a masked message beside its vector: a signature, and names."""

Train = Callable[[Mapping[str, bytes]], list[Message]]
"""Makes the requests to train of some sites, each with what it needs of the others' shares."""


@dataclass(frozen=True, slots=True)
class Secured:
    """What the coordinator needs for secure sums.

    Parameters
    ----------
    identities
        The Ed25519 public key of each site, as `tacit.trust.keys.public_bytes`.
    numbers
        A number for each sum: a larger one each time, also after this process began anew.
    """

    identities: Mapping[str, bytes]
    numbers: Iterator[int]


@dataclass(frozen=True, slots=True)
class Summed:
    """A sum and what came with it.

    Parameters
    ----------
    total
        Modulo 2^bits [d].
    answers
        Of the sites whose parts are in it.
    failed
        Why other sites' are not.
    """

    total: NDArray[Any]
    answers: Mapping[str, Message]
    failed: Mapping[str, str]


class SecureRound:
    """One sum.

    Parameters
    ----------
    grid
        Reaches the sites.
    names
        Site behind each node id that is asked.
    joint
        What all sites agree on.
    secured
        Keys and numbers.
    weights
        SHA-256 of the round's global weights.
    timeout
        Seconds for training; None to wait.
    """

    def __init__(
        self,
        grid: Grid,
        names: Mapping[int, str],
        joint: JointPlan,
        secured: Secured,
        weights: str,
        timeout: float | None,
    ) -> None:
        self.number = next(secured.numbers)
        self._grid = grid
        self._names = names
        self._nodes = {site: node for node, site in names.items()}
        self._joint = joint
        self._weights = weights
        self._timeout = timeout
        self._failed: dict[str, str] = {}
        self._server = Server(
            Context(
                run=joint.run,
                round=self.number,
                cohort=Cohort({site: secured.identities[site] for site in joint.sites}),
                modulus=Modulus(joint.bits),
                length=joint.dimension,
                weights_hash=bytes.fromhex(weights),
                configuration_hash=joint.digest(),
            )
        )

    def run(self, train: Train) -> Summed:
        """Do all stages.

        Raises
        ------
        TooFewSitesError
            Too few sites are left; all that were asked have been told. `reasons` says why, by site.
        """
        try:
            return self._run(train)
        except TooFewSitesError as error:
            self._give_up(str(error))
            raise TooFewSitesError(str(error), self._reasons()) from error
        finally:
            for fault in self._server.faults.values():
                log.warning("sum %d: %s", self.number, fault)

    def _run(self, train: Train) -> Summed:
        server, text = self._server, self._joint.text()
        self._ask(SecureStage.ADVERTISE, dict.fromkeys(self._nodes, text))
        self._ask(SecureStage.SHARE, server.directory())
        answers = self._train(train, server.dealt())
        # Opened first: with fewer sites than were agreed on nobody would help to open it.
        survivors = server.survivors()
        if len(survivors) < self._joint.fewest:
            raise TooFewSitesError(
                f"{len(survivors)} of {len(self._joint.sites)} sites sent their part and "
                f"{self._joint.fewest} are needed"
            )
        self._ask(SecureStage.AGREE, survivors)
        self._ask(SecureStage.REVEAL, server.agreements())
        total = server.total()
        left_out = {s: why for s, why in self._reasons().items() if s not in total.sites}
        return Summed(total.vector, {site: answers[site] for site in total.sites}, left_out)

    def _train(self, train: Train, dealt: Mapping[str, bytes]) -> Mapping[str, Message]:
        """Have sites train; hand their masked parts to the machine."""
        replies = list(self._grid.send_and_receive(train(dealt), timeout=self._timeout))
        most = self._joint.dimension * self._joint.bits // 8 + _AROUND_VECTOR
        flaw = partial(_not_masked, most=most)
        answers, failed = sort_replies(replies, dealt, self._names, flaw)
        self._failed |= failed
        for site, message in answers.items():
            arrays = record_in(message.content, ARRAYS, ArrayRecord) or ArrayRecord()
            self._server.receive(site, numbers_of(arrays[SUM]).tobytes())
            arrays.clear()
        return answers

    def _ask(self, stage: SecureStage, contents: Mapping[str, bytes]) -> None:
        """Do one stage with sites, and hand what they answer to the machine."""
        asked = [self._query(stage, site, content) for site, content in contents.items()]
        seconds = STAGE_SECONDS if self._timeout is None else min(self._timeout, STAGE_SECONDS)
        missing = dict.fromkeys(contents, NO_REPLY)
        for reply in self._grid.send_and_receive(asked, timeout=seconds):
            site = self._names.get(reply.metadata.src_node_id, "")
            if site not in missing:
                continue  # nobody asked it, or it has answered
            if reply.has_error():
                missing[site] = reason_of(reply)
                continue
            said = (record_in(reply.content, SECURE, ConfigRecord) or ConfigRecord()).get("content")
            if isinstance(said, bytes):
                self._server.receive(site, said)
                del missing[site]
            else:
                missing[site] = MALFORMED
        self._failed |= missing

    def _give_up(self, why: str) -> None:
        """Tell everybody, so that nobody keeps secrets for a sum that will not be."""
        log.warning("sum %d is given up: %s", self.number, why)
        told = [self._query(SecureStage.GIVEN_UP, site, why.encode()) for site in self._nodes]
        for _ in self._grid.send_and_receive(told, timeout=STAGE_SECONDS):
            pass

    def _query(self, stage: SecureStage, site: str, content: bytes) -> Message:
        weights = self._weights if stage is SecureStage.ADVERTISE else ""
        request = SecureRequest(self._joint.run, self.number, stage, content, weights)
        record = ConfigRecord(dict(request.to_config()))
        return Message(
            RecordDict({SECURE: record}), self._nodes[site], f"{MessageType.QUERY}.{SECURE}"
        )

    def _reasons(self) -> dict[str, str]:
        """Say of every site that is not all right why: what it said, or what was wrong with it."""
        away = dict.fromkeys(self._joint.sites.keys() - self._nodes.keys(), NO_REPLY)
        return dict(
            sorted((away | dict.fromkeys(self._server.faults, MALFORMED) | self._failed).items())
        )


def _not_masked(arrays: ArrayRecord, most: int) -> str | None:
    """Say why arrays are not a masked message; None where they may be one."""
    if list(arrays) != [SUM]:
        return "it is not one masked message"
    try:
        sent = numbers_of(arrays[SUM])
    except (TypeError, ValueError):
        return "its masked message cannot be read"
    if sent.dtype.name != "uint8" or sent.ndim != 1 or sent.nbytes > most:
        return f"its masked message is {sent.dtype} of shape {sent.shape}"
    return None
