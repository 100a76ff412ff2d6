"""How much memory a process has had."""

import re
from pathlib import Path


def peak_mb(pid):
    """The most memory that a running process has had so far, in MB; None where it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1000 if found else None
