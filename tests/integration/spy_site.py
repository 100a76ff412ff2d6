"""A site whose updates a test gets to see: ``spy_site.py SITE_FILE FOLDER``."""

import sys
from pathlib import Path

from client import command, door
from commands import entry


def noting(folder):
    """Write the weights of every reply to a folder, as they leave."""
    honest = door._pack

    def pack(leaving):
        for name, array in leaving.weights.items():
            path = folder / f"{leaving.charge.number}-{name}"
            path.write_bytes(array.tobytes())
        return honest(leaving)

    return pack


if __name__ == "__main__":
    file, folder = sys.argv[1:]
    door._pack = noting(Path(folder))
    entry.run(lambda: command._main([f"site={file}"]))
