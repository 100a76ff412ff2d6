"""Files in the form of UCI Heart Disease with made-up patients: tests need no real data."""

import random
from pathlib import Path

SITES = ("cleveland", "hungarian", "switzerland", "va")
ROWS = 40


def write_heart_files(folder: Path) -> Path:
    """Write the four files, always the same, with `ROWS` complete rows each; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    for site in SITES:
        rows = []
        for _ in range(ROWS):
            sick = draw.random() < 0.5
            cells = [
                draw.randint(35, 75),  # age
                draw.randint(0, 1),  # sex
                4 if sick else draw.randint(1, 3),  # cp
                draw.randint(100, 160),  # trestbps
                draw.randint(150, 300),  # chol
                draw.randint(0, 1),  # fbs
                draw.randint(0, 2),  # restecg
                draw.randint(100, 140) if sick else draw.randint(130, 180),  # thalach
                int(sick),  # exang
                round(draw.uniform(0, 2), 1),  # oldpeak
                *("?", "?", "?"),  # slope, ca, thal
                draw.randint(1, 4) if sick else 0,  # num
            ]
            rows.append(",".join(map(str, cells)))
        path(folder, site).write_text("\n".join(rows) + "\n")
    return folder


def path(folder: Path, site: str) -> Path:
    return folder / f"processed.{site}.data"


def set_cell(folder: Path, site: str, row: int, column: int, value: str) -> None:
    """Change one cell; rows count from 1, columns from 0."""
    lines = path(folder, site).read_text().splitlines()
    cells = lines[row - 1].split(",")
    cells[column] = value
    lines[row - 1] = ",".join(cells)
    path(folder, site).write_text("\n".join(lines) + "\n")
