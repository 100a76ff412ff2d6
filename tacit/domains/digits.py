"""Handwritten digits at as many made-up sites as one likes: scikit-learn's bundled images.

1,797 images of 8 x 8 pixels, a copy of the test set of "Optical Recognition of Handwritten Digits"
(Alpaydin and Kaynak 1998, UCI Machine Learning Repository, doi 10.24432/C50P49, CC BY 4.0). A fixed
part is held out and is the one official test set of all sites; a partition deals out the rest.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits

from tacit.domains.domain import Card, Examples, Metric
from tacit.domains.partition import LABEL, Partition, Table, partition_of
from tacit.domains.partitioned import PartitionedSites, declared_sizes
from tacit.errors import ConfigurationError

SALT: Final = "tacit/digits/1"
HELD_OUT: Final = 360
"""Test images: those whose number has the smallest hashes, whatever the partition and the seed."""
SIDE: Final = 8
INK: Final = 16
"""Largest value of a pixel: of 4 x 4 dots, how many are black."""


class Digits:
    """Ten digits at many sites.

    Parameters
    ----------
    partition
        Deals the training images out to sites: a `Partition`, or what describes one
        (``domain.partition`` of the configuration).
    image
        Whether an example is an image (1, 8, 8), for convolutions, or a row of 64 numbers.
    """

    def __init__(self, partition: Mapping[str, Any] | Partition, image: bool = False) -> None:
        if not isinstance(image, bool):
            raise ConfigurationError(f"domain.image={image} must be true or false")
        self.inputs = (1, SIDE, SIDE) if image else (SIDE * SIDE,)
        self.groups = () if image else tuple(slice(n, n + 1) for n in range(SIDE * SIDE))
        self._images, self._labels = _rows()
        held_out = held_out_rows(len(self._labels))
        self._test = np.flatnonzero(held_out)
        self._train = np.flatnonzero(~held_out)
        table = Table(len(self._train), {LABEL: self._labels[self._train]})
        self._parts = partition_of(partition).divide(table)
        self.declared_sizes: Mapping[str, int] = declared_sizes(self._parts)

    @property
    def card(self) -> Card:
        """What a person is told."""
        return Card(
            name="digits",
            title=f"Handwritten digits at {len(self.declared_sizes):,} sites",
            description=(
                "Which digit, from images of 8 x 8 pixels (Optical Recognition of Handwritten "
                "Digits; Alpaydin and Kaynak 1998; CC BY 4.0; comes with scikit-learn). The images "
                f"are real, that they lie at sites is made up. {HELD_OUT} images are held out, and "
                "every site is measured on all of them."
            ),
            classes=tuple("0123456789"),
            metric=Metric.ACCURACY,
            unit_protected="one image; not its writer, who has several",
            not_protected=(
                "a writer with several images: their guarantees compose",
                "an image that lies at several sites, as where domain.partition.rows is set: its "
                "guarantees compose",
                "the number of images: the declared sizes are public",
            ),
        )

    def load(self) -> PartitionedSites:
        """Cut the table into sites; a site's rows are gathered when they are asked for."""
        return PartitionedSites(
            self._examples(self._train), self._parts, self._examples(self._test)
        )

    def public_pool(self) -> torch.Tensor | None:
        """There is no public share: training starts from zero or random weights."""
        return None

    def _examples(self, rows: npt.NDArray[np.int64]) -> Examples:
        features = self._images[rows].reshape(-1, *self.inputs)
        return Examples(torch.from_numpy(features), torch.from_numpy(self._labels[rows]))


def held_out_rows(count: int) -> npt.NDArray[np.bool_]:
    """Tell which rows are held out: the `HELD_OUT` with the smallest hash of their number."""
    digests = [hashlib.sha256(f"{SALT}/{row}".encode()).digest() for row in range(count)]
    chosen = sorted(range(count), key=digests.__getitem__)[:HELD_OUT]
    return np.isin(np.arange(count), chosen)


def _rows() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return pixels [n, 64], scaled to [0, 1] by their public range, and labels [n]."""
    loaded = load_digits()
    return (loaded.data / INK).astype(np.float32), loaded.target.astype(np.int64)
