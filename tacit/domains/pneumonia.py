"""Hospitals made from PneumoniaMNIST: chest X-rays of children, normal or with pneumonia.

PneumoniaMNIST (Yang et al. 2023, "MedMNIST v2", Scientific Data 10:41) holds images of Kermany et
al. 2018 (Cell 172:1122), which all come from one hospital, shrunk to 28 x 28. The training split is
divided among hospitals by a Dirichlet distribution over each class (Hsu et al. 2019, arXiv
1909.06335, section 3.1, by class); the validation split is the public pool.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch

from tacit.domains.domain import Card, Examples, Metric, SiteData
from tacit.domains.unlabelled import Unlabelled, image_rows, no_column
from tacit.errors import ConfigurationError, DataError

SIDE: Final = 28
WHITE: Final = 255
CLASSES: Final = ("normal", "pneumonia")


@dataclass(frozen=True, slots=True)
class _Split:
    """Images uint8 [n, 28, 28] and their classes int64 [n]."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def examples(self) -> Examples:
        return Examples(_scaled(self.images), torch.from_numpy(self.labels))


class Pneumonia:
    """PneumoniaMNIST at several hospitals.

    Parameters
    ----------
    root
        The data set's ``.npz`` file or the folder that holds it.
    declared_sizes
        Public, rounded number of training images of each hospital; their names are its keys.
    alpha
        Concentration of the Dirichlet distribution by which each class is divided: the smaller,
        the more unlike the hospitals are.
    partition_seed
        Fixes the division, and nothing else.

    Raises
    ------
    ConfigurationError
        `alpha` is not positive.
    """

    inputs = (1, SIDE, SIDE)
    groups: tuple[slice, ...] = ()

    def __init__(
        self,
        root: str,
        declared_sizes: Mapping[str, int],
        alpha: float = 1.0,
        partition_seed: int = 0,
    ) -> None:
        if not 0 < alpha < math.inf:
            raise ConfigurationError(f"domain.alpha={alpha} must be positive and finite")
        if partition_seed < 0:
            raise ConfigurationError(f"domain.partition_seed={partition_seed} must be 0 or more")
        self.root = Path(root)
        self.declared_sizes = dict(sorted(declared_sizes.items()))
        self.alpha = alpha
        self.partition_seed = partition_seed

    @property
    def card(self) -> Card:
        """What a person is told."""
        return Card(
            name="pneumonia",
            title=f"Pneumonia at {len(self.declared_sizes)} hospitals",
            description=(
                "Normal or pneumonia, from chest X-rays of children of 28 x 28 pixels "
                "(PneumoniaMNIST of MedMNIST v2; Kermany et al. 2018; CC BY 4.0). The images are "
                "real and of one hospital; that they lie at several is ours. Every hospital is "
                "measured on the whole official test set."
            ),
            classes=CLASSES,
            metric=Metric.AUC,
            unit_protected="one image; not the patient, who may have several",
            not_protected=(
                "a patient with several images: their guarantees compose",
                "the number of images: the declared sizes are public",
                "images of the public pool, which is public by assumption: 8 of its official 524 "
                "lie in the training split too",
            ),
            public_pool=(
                "the images of the official validation split, without their labels, public by "
                "assumption; the shared model and every baseline start from what was learnt on "
                "them"
            ),
        )

    def load(self) -> Mapping[str, SiteData]:
        """Read the file and divide its training split; all hospitals share one test set."""
        path = find_file(self.root)
        train, test = (_read(path, part) for part in ("train", "test"))
        # One tensor for all: the whole test set lies at every hospital.
        held_out = test.examples()
        rows_of = divide(train.labels, tuple(self.declared_sizes), self.alpha, self.partition_seed)
        sites = {}
        for site, rows in rows_of.items():
            if len(rows) == 0:
                raise DataError(
                    f"{path}: the division leaves {site!r} without training images: use a larger "
                    f"domain.alpha (now {self.alpha:g}) or fewer sites (now {len(rows_of)})"
                )
            own = _Split(train.images[rows], train.labels[rows])
            sites[site] = SiteData(own.examples(), held_out)
        return sites

    def public_pool(self) -> torch.Tensor:
        """Images [n, 1, 28, 28] of the validation split; its labels are never read."""
        return _scaled(_images(find_file(self.root), "val"))

    def read_unlabelled(self, path: Path, column: str | None = None) -> Unlabelled:
        """Read a file or a folder of images, resized to 28 x 28, or images of an .npz.

        Parameters
        ----------
        path
            What there is to read.
        column
            Which split of an .npz: train, val or test; None for test.
        """
        if path.suffix.lower() == ".npz":
            images = _images(path, column or "test")
            return Unlabelled(tuple(map(str, range(1, len(images) + 1))), _scaled(images))
        no_column(path, column)
        return image_rows(path, size=(SIDE, SIDE), grey=True, resize=True)


def divide(
    labels: npt.NDArray[np.int64], sites: tuple[str, ...], alpha: float, seed: int
) -> dict[str, npt.NDArray[np.int64]]:
    """Divide rows among sites: of each class, every site gets a share drawn from a Dirichlet.

    Parameters
    ----------
    labels
        Class of each row [n].
    sites
        Names, in order.
    alpha
        Concentration, equal for all sites.
    seed
        Fixes the division.

    Returns
    -------
    dict
        Row numbers of each site, ascending; each row belongs to one site.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[npt.NDArray[np.int64]]] = [[] for _ in sites]
    for label in range(len(CLASSES)):
        rows = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(len(sites), alpha))
        ends = np.round(np.cumsum(shares[:-1]) * len(rows)).astype(np.int64)
        for part, own in zip(parts, np.split(rows, ends), strict=True):
            part.append(own)
    return {site: np.sort(np.concatenate(part)) for site, part in zip(sites, parts, strict=True)}


def find_file(root: Path) -> Path:
    """Return the data set's file: `root` itself, or the one that lies in it.

    Raises
    ------
    DataError
        There is none, or more than one.
    """
    if root.is_file():
        return root
    if not root.is_dir():
        raise DataError(
            f"{root}: there is no such file or folder; domain.root must be pneumoniamnist.npz or "
            f"the folder that holds it"
        )
    found = sorted(root.glob("pneumoniamnist*.npz")) or sorted(root.glob("*.npz"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found)
        raise DataError(
            f"{root}: holds {'several .npz files: ' + names if found else 'no .npz file'}; "
            f"domain.root must be pneumoniamnist.npz itself or a folder with that file alone"
        )
    return found[0]


def _scaled(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Map pixels [n, 28, 28] from their public range to [0, 1], float32 [n, 1, 28, 28]."""
    return torch.from_numpy(images.astype(np.float32)[:, None] / WHITE)


def _read(path: Path, part: str) -> _Split:
    images, key = _images(path, part), f"{part}_labels"
    labels = _array(path, key)
    if labels.shape not in ((len(images),), (len(images), 1)):
        raise DataError(
            f"{path}: {key} has the shape {list(labels.shape)}, but {part}_images has "
            f"{len(images)} images: one label for each is needed"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path}: {key} is of type {labels.dtype}, whole numbers are needed")
    flat = labels.reshape(-1).astype(np.int64)
    unknown = (flat < 0) | (flat >= len(CLASSES))
    if unknown.any():
        row = int(unknown.argmax())
        known = " or ".join(f"{code} ({name})" for code, name in enumerate(CLASSES))
        raise DataError(f"{path}: {key} row {row + 1} is {flat[row]}, which is not {known}")
    return _Split(images, flat)


def _images(path: Path, part: str) -> npt.NDArray[np.uint8]:
    key = f"{part}_images"
    found = _array(path, key)
    if found.dtype != np.uint8:
        raise DataError(f"{path}: {key} is of type {found.dtype}, uint8 is needed")
    images: npt.NDArray[np.uint8] = found.astype(np.uint8)
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise DataError(
            f"{path}: {key} has the shape {list(images.shape)}, [n, {SIDE}, {SIDE}] is needed: "
            f"use the {SIDE} x {SIDE} version of the data set"
        )
    if len(images) == 0:
        raise DataError(f"{path}: {key} holds no images")
    return images


def _array(path: Path, key: str) -> npt.NDArray[np.generic]:
    """Read one array of an .npz; nothing in it is ever unpickled."""
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: holds a single array, an .npz of several is needed")
            if key not in archive:
                raise DataError(
                    f"{path}: {key} is missing; the file holds {', '.join(archive) or 'nothing'}"
                )
            array: npt.NDArray[np.generic] = archive[key]
            return array
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: {key} cannot be read as an array of an .npz: {error}") from error
