"""What long-running processes say while they work: a line each, for people or for programs."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, Literal

QUIET = ("flwr", "httpx", "httpcore", "uvicorn", "asyncio", "opacus", "matplotlib")
"""Libraries whose chatter says nothing to an operator; their warnings are heard."""

LONGEST: Final = 1000
"""Most letters of a message."""


def set_up(form: Literal["text", "json"], who: str) -> None:
    """Send the process's log to stderr, and with it what libraries warn of.

    To be called when the libraries are imported: some set up logs of their own.

    Parameters
    ----------
    form
        'text' for people; 'json' for one object a line with the keys at, level, who and message,
        and trace where something broke.
    who
        Whose log it is: a site's name, or 'coordinator'.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(who) if form == "json" else _Text(who))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in QUIET:
        library = logging.getLogger(name)
        library.setLevel(logging.WARNING)
        library.handlers.clear()
        library.propagate = True
    logging.captureWarnings(True)


def one_line(text: str) -> str:
    """Write a text in one line, not too long, without what steers a terminal.

    Whoever writes into a message writes no lines of the log, and does not fill it.
    """
    line = _printable(" ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}… ({len(line)} letters)"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


class _Text(logging.Formatter):
    """Time, who, and the message in one line; a trace follows, set in, where something broke."""

    def __init__(self, who: str) -> None:
        super().__init__()
        self._who = one_line(who)

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        lines = [f"{at}  {self._who}  {level}{one_line(record.getMessage())}"]
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            lines += [f"    {_printable(line)}" for line in trace.splitlines()]
        return "\n".join(lines)


class _Json(logging.Formatter):
    """One JSON object a line, in ASCII: no terminal and no reader of lines takes it for more."""

    def __init__(self, who: str) -> None:
        super().__init__()
        self._who = who

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "who": self._who,
            "message": one_line(record.getMessage()),
        }
        if record.exc_info:
            said["trace"] = self.formatException(record.exc_info)
        return json.dumps(said)
