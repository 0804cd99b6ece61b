"""The logs of the daemons: plain lines on a terminal, one JSON object a line elsewhere.

What a record is about goes into `extra`, under the names of `FIELDS`:

    log.info("attempt failed", extra={"job": job_id, "attempt": str(attempt)})
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

import msgspec

FIELDS: Final = ("job", "task", "attempt", "worker", "epoch", "seconds", "error")
"""What a line can say beside its message; `mrcore` never logs records, params or tokens."""

LEVELS: Final = ("debug", "info", "warning", "error")


class _JsonFormatter(logging.Formatter):
    """One JSON object a line, for programs."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "source": record.name,
            "message": record.getMessage(),
        }
        for field in FIELDS:
            if field in record.__dict__:
                line[field] = record.__dict__[field]
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        text = msgspec.json.encode(line, enc_hook=str)
        return text.decode()


class _PlainFormatter(logging.Formatter):
    """One line for people: time, level, message, and what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).astimezone()
        about = [f"{f}={record.__dict__[f]}" for f in FIELDS if f in record.__dict__]
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        line = f"{moment:%H:%M:%S} {record.name}: {level}{record.getMessage()}"
        if about:
            line += f" ({', '.join(about)})"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure(level: str, stream: TextIO = sys.stderr) -> None:
    """Send the records of `level` and above to `stream`, in the form that suits it."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_PlainFormatter() if stream.isatty() else _JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
