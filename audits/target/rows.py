"""Rows that the audit gives to a client that is not ours, and which of them it reads when."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from tacit.domains.domain import Domain, Examples

Row = tuple[torch.Tensor, torch.Tensor]


class Rows(Dataset[Row]):
    """Rows as a data set for torch; it notes what is read.

    Parameters
    ----------
    examples
        The rows.

    Attributes
    ----------
    features, targets
        The same, whole: whoever takes them so keeps to himself which he trains on.
    batches
        Places of rows that were read together, as a DataLoader reads a batch.
    singles
        Places of rows that were read one by one.
    """

    def __init__(self, examples: Examples) -> None:
        self.features = examples.features
        self.targets = examples.targets
        self.batches: list[list[int]] = []
        self.singles: list[int] = []

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, place: int) -> Row:
        self.singles.append(int(place))
        return self.features[place], self.targets[place]

    def __getitems__(self, places: Sequence[int]) -> list[Row]:
        """Give a batch: torch's DataLoader asks for all of it at once, also where it is empty."""
        self.batches.append([int(place) for place in places])
        return [(self.features[place], self.targets[place]) for place in places]

    def shuffled(self) -> bool:
        """Tell whether every row was read once in each pass, out of order.

        Rows in their order may have been copied and not trained on.
        """
        read = [place for batch in self.batches for place in batch] or self.singles
        count = len(self)
        passes = [read[start : start + count] for start in range(0, len(read), count)]
        whole = bool(passes) and all(sorted(each) == [*range(count)] for each in passes)
        return whole and (bool(self.batches) or passes[0] != [*range(count)])


@dataclass(frozen=True, slots=True)
class MadeUp:
    """Rows that look like a domain's and are nobody's."""

    domain: Domain

    def row(self, seed: int, spread: float = 1.0) -> Examples:
        """Make one row, with normal features."""
        random = torch.Generator().manual_seed(seed)
        features = spread * torch.randn(1, *self.domain.inputs, generator=random)
        card = self.domain.card
        if card.target is not None:
            return Examples(features, 2 * torch.rand(1, generator=random) - 1)
        return Examples(features, torch.randint(0, card.outputs, (1,), generator=random))


def alike(row: Examples, count: int, *others: Examples) -> Rows:
    """Return `count` rows that are all the same, but for `others` at their beginning."""
    same = count - len(others)
    copies = Examples(row.features.expand(same, *row.features.shape[1:]), row.targets.expand(same))
    return Rows(Examples.together([*others, copies]) if others else copies)
