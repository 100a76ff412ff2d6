"""A small table of three clinics and its schema file, to be changed by tests."""

from pathlib import Path

import numpy as np

SCHEMA = """\
name: clinics
files: clinics.csv
target: {column: outcome, task: classes, classes: [well, ill]}
features:
  age: {number: [18, 110], typical: [30, 80]}
  bmi: {number: [10, 80], typical: [20, 35], missing: ""}
  smoker: {codes: ["no", former, "yes"]}
sites: {column: clinic, declared_sizes: {north: 30, south: 30, west: 20}}
"""
HEADER = "patient,age,bmi,smoker,clinic,outcome"
SITES = ("north", "south", "west")


def lines(count=120):
    """Rows as text; two of each patient, one after the other, and of one clinic."""
    rng = np.random.default_rng(0)
    for n in range(count):
        bmi = "" if n % 10 == 0 else f"{rng.uniform(15, 50):.1f}"
        smoker, outcome = rng.choice(["no", "former", "yes"]), rng.choice(["well", "ill"])
        yield f"p{n // 2},{rng.integers(18, 100)},{bmi},{smoker},{SITES[n // 2 % 3]},{outcome}"


def write(folder: Path, schema: str = SCHEMA, rows: list[str] | None = None) -> str:
    """Write both files; return the schema's path."""
    rows = list(lines()) if rows is None else rows
    (folder / "clinics.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (folder / "clinics.yaml").write_text(schema)
    return str(folder / "clinics.yaml")
