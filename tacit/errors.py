"""What can go wrong, as one hierarchy; each class carries the exit code of the process.

::

    TacitError (1, a fault of ours)
    ├── InputError (2, bad configuration or bad input)
    │   ├── ConfigurationError   a key or value on the command line or in YAML
    │   ├── DataError            a file, row, column and value of somebody's data
    │   ├── ModelError           weights or layers that do not fit
    │   ├── RunDirectoryError    a run directory that cannot be used
    │   └── TrustError           a key, certificate, roster or bundle that cannot be trusted
    ├── RefusedError (5)         a site's policy or budget said no
    │   ├── LedgerError          the ledger is damaged: nothing may be spent from it
    │   └── SecureSumError       a site goes no further in a secure sum
    ├── TooFewSitesError (6)     a round had fewer replies than its minimum
    └── WrongMessageError (1)    what another party sent cannot be used; says whose it is

A message says what was wrong, the value, and what to try.
"""

from collections.abc import Mapping
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every Tacit command."""

    DONE = 0
    FAULT = 1
    BAD_INPUT = 2
    CONTRADICTED = 3
    INCOMPLETE = 4
    REFUSED = 5
    TOO_FEW_SITES = 6
    INTERRUPTED = 130
    TERMINATED = 143


class TacitError(Exception):
    """Base of every error that Tacit raises on purpose."""

    exit_code = ExitCode.FAULT


class InputError(TacitError):
    """Something a person gave us cannot be used."""

    exit_code = ExitCode.BAD_INPUT


class ConfigurationError(InputError):
    """A configuration key or value is wrong; the message names the key."""


class DataError(InputError):
    """A data file is missing or malformed.

    The message may name rows and values: it is for the data owner's terminal only and never
    enters a reply.
    """


class ModelError(InputError):
    """A model cannot be trained privately, or weights do not belong to it."""


class RunDirectoryError(InputError):
    """A run directory is in use, not empty, full, or belongs to another configuration."""


class TrustError(InputError):
    """A key, certificate, roster or bundle is missing, altered, over, or not whose it should be."""


class RefusedError(TacitError):
    """A site's policy or ledger refuses; `reason` is from a closed list and never about data."""

    exit_code = ExitCode.REFUSED

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class LedgerError(RefusedError):
    """A ledger is damaged, cut or older than its receipt; nothing may be spent from it."""

    def __init__(self, message: str) -> None:
        super().__init__("ledger_damaged", message)


class SecureSumError(RefusedError):
    """A site goes no further in a secure sum: what was asked of it might show its own part."""

    def __init__(self, message: str) -> None:
        super().__init__("secure_sum", message)


class TooFewSitesError(TacitError):
    """Fewer sites replied than the run needs; `reasons` says why, by site."""

    exit_code = ExitCode.TOO_FEW_SITES

    def __init__(self, message: str, reasons: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reasons = dict(reasons or {})


class WrongMessageError(TacitError):
    """What another party sent is garbage, false or out of turn; `sender` is whose it is."""

    def __init__(self, sender: str, message: str) -> None:
        super().__init__(f"{sender}: {message}")
        self.sender = sender
