"""Environments of their own for what others' software is measured with: made once, then kept.

So neither has a say in which versions the other gets.
"""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

PFL: Final = ("pfl==0.6.0", "scikit-learn>=1.5,<2", "torch>=2.11,<2.14")
RAY: Final = ("flwr[simulation]>=1.41,<1.43", "psutil>=6,<8")


def python_with(requirements: Sequence[str], folder: Path) -> Path:
    """Return the Python of an environment with these packages; make it where there is none.

    Parameters
    ----------
    requirements
        As pip takes them; other ones have an environment of their own.
    folder
        Where environments lie.

    Raises
    ------
    subprocess.CalledProcessError
        It cannot be made; pip has said why.
    """
    written = "\n".join([*requirements, sys.version.split()[0]])
    home = folder / hashlib.sha256(written.encode()).hexdigest()[:12]
    python, complete = home / "bin" / "python", home / "complete"
    if not complete.exists():
        Console().print(f"making an environment with {', '.join(requirements)}", highlight=False)
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        complete.write_text(written)
    return python
