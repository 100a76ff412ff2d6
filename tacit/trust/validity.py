"""From when until when something counts, and whether that is soon over."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from tacit.errors import TrustError

WARNING_DAYS: Final = 30
"""How many days before its end something is warned of."""


@dataclass(frozen=True, slots=True)
class Validity:
    """When something counts.

    Parameters
    ----------
    what
        How a message calls it.
    since, until
        Its first and last moment, in UTC.
    remedy
        What to do about its end.
    """

    what: str
    since: datetime
    until: datetime
    remedy: str

    @staticmethod
    def of(certificate: x509.Certificate, what: str, remedy: str) -> "Validity":
        """Return that of a certificate."""
        since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return Validity(what, since, until, remedy)

    def days_left(self, now: datetime) -> int:
        """Count the whole days until the end; negative once it is over."""
        return (self.until - now).days

    def check(self, now: datetime) -> None:
        """Refuse what does not count yet or no longer.

        Raises
        ------
        TrustError
            It does not count now.
        """
        if now < self.since:
            raise TrustError(
                f"{self.what} begins on {_written(self.since)} and this machine's clock says "
                f"{_written(now)}: set the clock right"
            )
        if now > self.until:
            raise TrustError(f"{self.what} ended on {_written(self.until)}: {self.remedy}")

    def warning(self, now: datetime) -> str | None:
        """Return a sentence where the end is near or past."""
        days = self.days_left(now)
        if days >= WARNING_DAYS:
            return None
        if now > self.until:
            return f"{self.what} ended on {_written(self.until)}: {self.remedy}"
        left = "in less than a day" if days == 0 else f"in {days} day{'s' * (days > 1)}"
        return f"{self.what} ends {left}, on {_written(self.until)}: {self.remedy}"


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def _written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
