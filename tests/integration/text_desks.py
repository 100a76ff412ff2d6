"""Two support desks with made-up sentences, and a run of a small BERT at them."""

import random

import small_models
from whole_run import uninterrupted

TEXTS = ["my card is lost", "the cat sat on the mat", "please help", "dog ran"]
SCHEMA = """\
name: desks
files: rows.csv
title: Two desks
description: What somebody writes about.
target: {task: classes, classes: [card, cat], column: about}
text: {column: text, length: 64}
sites: {column: desk, declared_sizes: {north: 30, south: 30}}
"""
WORDS = {
    "card": ["my", "card", "is", "lost", "please", "help"],
    "cat": ["the", "cat", "sat", "on", "mat", "dog", "ran"],
}


def write_desks(folder):
    """Write rows and schema."""
    chance = random.Random(0)
    lines = ["text,about,desk"]
    for desk in ("north", "south"):
        for n in range(40):
            about = ("card", "cat")[n % 2]
            said = " ".join(chance.choices(WORDS[about], k=chance.randint(2, 6)))
            lines.append(f"{said},{about},{desk}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    (folder / "desks.yaml").write_text(SCHEMA)
    (folder / "public.csv").write_text("\n".join(["text", *TEXTS * 10]) + "\n")
    return folder / "desks.yaml"


def run_of_desks(folder, kind="bert", train="lora"):
    """Run a small model without privacy, and return the run's directory."""
    return uninterrupted(
        folder / "run",
        2,
        "domain=text",
        "model=transformers",
        f"domain.schema={write_desks(folder)}",
        f"model.name={getattr(small_models, kind)(folder / kind)}",
        f"model.train={train}",
        "model.lora.rank=2",
        "model.architecture.length=8",
        f"model.architecture.head_bias={str(kind != 'bert').lower()}",
        "model.architecture.head=names",  # from zeros, LoRA would hardly move in two rounds
        "privacy=none",
        "training.learning_rate=2",
    )
