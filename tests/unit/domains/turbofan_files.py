"""Small C-MAPSS files of made-up engines that wear, and changed cells."""

import gzip
from pathlib import Path

import numpy as np

from tacit.domains.cmapss import COLUMNS, PREFIX, SENSORS

NAMES = [column.name for column in COLUMNS]
WEARING = [NAMES.index(sensor) for sensor in SENSORS]


def engine(number: int, life: int, cycles: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of an engine that has run `cycles` of its `life`, with wear in every kept sensor."""
    rows = np.tile([(column.valid[0] + column.valid[1]) / 2 for column in COLUMNS], (cycles, 1))
    rows[:, 0], rows[:, 1] = number, np.arange(1, cycles + 1)
    rows[:, 2:5] = (0.0, 0.0, 100.0)
    wear = np.maximum(0, 1 - (life - rows[:, 1:2]) / 125)
    noise = rng.normal(size=(cycles, len(WEARING)))
    rows[:, WEARING] *= 1 + 0.02 * wear * np.linspace(0.5, 1.5, len(WEARING)) + 0.002 * noise
    return rows


def write(path: Path, rows: np.ndarray) -> None:
    text = "".join(" ".join(f"{value:.6g}" for value in row) + "  \n" for row in rows)
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


def write_turbofans(folder: Path, *, engines: int = 6, test: int = 4) -> Path:
    """Write FD001 and, as a first part, the pool FD003; engines of 60 to 150 cycles."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)

    def lives(count: int) -> list[int]:
        return rng.integers(60, 150, count).tolist()

    for name, count in (("train_FD001.txt", engines), (f"train_FD003{PREFIX}", 5)):
        rows = [engine(n, life, life, rng) for n, life in enumerate(lives(count), 1)]
        write(folder / name, np.concatenate(rows))
    ran = rng.integers(15, 60, test).tolist()
    left = lives(test)
    rows = [
        engine(n, seen + rest, seen, rng)
        for n, (seen, rest) in enumerate(zip(ran, left, strict=True), 1)
    ]
    write(folder / "test_FD001.txt", np.concatenate(rows))
    (folder / "RUL_FD001.txt").write_text("".join(f"{rest} \n" for rest in left))
    return folder


def change(path: Path, row: int, column: str, value: str) -> None:
    """Change a cell; rows count from 1."""
    lines = path.read_text().splitlines()
    cells = lines[row - 1].split()
    cells[NAMES.index(column)] = value
    lines[row - 1] = " ".join(cells)
    path.write_text("\n".join(lines) + "\n")
