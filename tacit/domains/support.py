"""Ten support desks of CLINC150: what a customer wants, of 150 intents, and when it is none.

Larson et al. 2019 ("An evaluation dataset for intent classification and out-of-scope prediction",
EMNLP-IJCNLP, arXiv 1909.02027): 150 intents in ten subjects, with 100 sentences of each to learn
from and 30 to test, and 1,000 sentences that mean none of them. A subject is a site here: it holds
its own fifteen intents and none of the others'. The official validation part is left aside.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch

from tacit.domains.domain import Card, Examples, Metric, SiteData
from tacit.domains.texts import texts_to_bytes
from tacit.domains.unlabelled import Unlabelled, text_rows
from tacit.errors import ConfigurationError, DataError

DECLARED_SIZES: Final = MappingProxyType(
    dict.fromkeys(
        (
            *("auto_and_commute", "banking", "credit_cards", "home", "kitchen_and_dining"),
            *("meta", "small_talk", "travel", "utility", "work"),
        ),
        1500,
    )
)
"""Rounded constants: the published 100 sentences of each of 15 intents."""
LONGEST: Final = 256
"""Bytes of a sentence; the longest published one has 136 characters."""

Pairs = list[tuple[str, str]]


class Support:
    """CLINC150 with its ten subjects as sites.

    Parameters
    ----------
    root
        Folder with ``data_full.json`` and ``domains.json``.
    declared_sizes
        Public size of each site.

    Raises
    ------
    ConfigurationError
        A size is declared for a site that there is not.
    DataError
        ``domains.json`` is missing or not what it should be.
    """

    def __init__(self, root: str, declared_sizes: Mapping[str, int] = DECLARED_SIZES) -> None:
        if unknown := sorted(set(declared_sizes) - set(DECLARED_SIZES)):
            raise ConfigurationError(
                f"domain.declared_sizes names {', '.join(unknown)}: the sites of support are "
                f"{', '.join(DECLARED_SIZES)}"
            )
        self.root = Path(root)
        self.declared_sizes = dict(declared_sizes)
        self._subjects = _subjects(self.root / "domains.json")
        self._classes = tuple(sorted(intent for own in self._subjects.values() for intent in own))

    @property
    def inputs(self) -> tuple[int, ...]:
        """Bytes of a sentence."""
        return (LONGEST,)

    @property
    def card(self) -> Card:
        """What a person is told."""
        return Card(
            name="support",
            title="Support desks (CLINC150)",
            description=(
                "What a customer wants, of 150 intents. Ten support desks, each of one subject "
                "with fifteen intents, hold no sentence of another subject."
            ),
            classes=self._classes,
            metric=Metric.ACCURACY,
            unit_protected="one customer's sentence (one row) at one support desk",
            not_protected=(
                "a customer who wrote several sentences: each is protected by itself",
                "which subject a desk is of, and which intents belong to it",
                "how many sentences a desk holds, to the precision of its declared size",
            ),
            texts=True,
        )

    @property
    def groups(self) -> tuple[slice, ...]:
        """A sentence has no columns."""
        return ()

    def public_pool(self) -> torch.Tensor | None:
        """There is no public share."""
        return None

    def load(self) -> Mapping[str, SiteData]:
        """Read and check every desk's sentences."""
        return {site: self.load_site(site) for site in self.declared_sizes}

    def load_site(self, site: str) -> SiteData:
        """Read and check one desk's sentences."""
        own = self._subjects[site]
        return SiteData(self._rows("train", own), self._rows("test", own))

    def out_of_scope(self) -> torch.Tensor:
        """Sentences that mean none of the intents: bytes [1000, 256]."""
        return texts_to_bytes([text for text, _ in self._part("oos_test")], LONGEST)

    def read_unlabelled(self, path: Path, column: str | None = None) -> Unlabelled:
        """Read sentences: a line each of a .txt, or a column of a table."""
        return text_rows(path, column, LONGEST)

    def _rows(self, part: str, own: frozenset[str]) -> Examples:
        numbers = {intent: number for number, intent in enumerate(self._classes)}
        pairs = self._part(part)
        for number, (_, intent) in enumerate(pairs, start=1):
            if intent not in numbers:
                raise DataError(
                    f"{self._path}: {part} row {number}: intent {intent!r} is none of the "
                    f"{len(numbers)} that domains.json names"
                )
        kept = [(text, numbers[intent]) for text, intent in pairs if intent in own]
        return Examples(
            texts_to_bytes([text for text, _ in kept], LONGEST),
            torch.tensor([number for _, number in kept], dtype=torch.int64),
        )

    def _part(self, part: str) -> Pairs:
        rows = self._parts.get(part)
        if not isinstance(rows, list):
            raise DataError(f"{self._path}: has no list {part!r}: is it CLINC150's data_full.json?")
        for number, row in enumerate(rows, start=1):
            if not (
                isinstance(row, list)
                and len(row) == 2
                and all(isinstance(cell, str) for cell in row)
                and row[0].strip()
            ):
                raise DataError(
                    f"{self._path}: {part} row {number}: {str(row)[:60]} is not a sentence and its "
                    'intent: write ["sentence", "intent"]'
                )
        return [(str(text), str(intent)) for text, intent in rows]

    @property
    def _path(self) -> Path:
        return self.root / "data_full.json"

    @cached_property
    def _parts(self) -> Mapping[str, Any]:
        return _object(self._path)


def _object(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: there is no such file; domain.root must be the folder that holds "
            "data_full.json and domains.json"
        ) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: must hold a JSON object, not {type(found).__name__}")
    return found


def _subjects(path: Path) -> dict[str, frozenset[str]]:
    """Read which intents are whose; the file writes names with spaces, the sentences with ``_``."""
    subjects = {}
    for subject, intents in _object(path).items():
        if not isinstance(intents, list) or not all(isinstance(each, str) for each in intents):
            raise DataError(f"{path}: {subject!r} must be a list of intents")
        subjects[subject.replace(" ", "_")] = frozenset(i.replace(" ", "_") for i in intents)
    if odd := sorted(subjects.keys() ^ DECLARED_SIZES.keys()):
        raise DataError(
            f"{path}: {', '.join(odd[:4])}: CLINC150 has the subjects {', '.join(DECLARED_SIZES)}"
        )
    return subjects
