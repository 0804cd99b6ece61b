"""Logging of the daemons: plain lines for people, one JSON object per line for programs.

The subject of a record goes into `extra`, under the names of `FIELDS`:

    log.info("attempt failed", extra=about(attempt, worker=worker_id))

The JSON objects use the field names of Cloud Logging: `time`, `severity`, `message`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TextIO

import msgspec

from mrcore.model.ids import AttemptId
from mrcore.model.stages import task_name

FIELDS: Final = (
    "cluster", "job", "task", "attempt", "worker", "epoch", "token_id", "role", "uri", "entry",
    "bytes", "deleted", "seconds", "error", "state",
)  # fmt: skip
"""Fields of a log line beside its message. Records, params and secrets are never logged."""

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("auto", "plain", "json")
"""`auto` is plain on a terminal, JSON elsewhere."""

_PRIORITIES: Final = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
_constant: dict[str, str] = {}


def about(attempt: AttemptId, stage: str, **more: str) -> dict[str, str]:
    """Return the `extra` of a log record about one attempt, given the name of its stage."""
    task = attempt.task
    names = {"job": task.job_id, "task": task_name(stage, task.index)}
    return {**names, "attempt": str(attempt.number), **more}


def add_to_all_lines(**fields: str) -> None:
    """Add these fields to every JSON line from now on; an empty value removes its field."""
    for field, value in fields.items():
        assert field in FIELDS, field
        _constant[field] = value


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {field: record.__dict__[field] for field in FIELDS if field in record.__dict__}


class _JsonFormatter(logging.Formatter):
    """One JSON object per line, for programs."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            "source": record.name,
            "message": record.getMessage(),
            **{field: value for field, value in _constant.items() if value},
            **_fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class _PlainFormatter(logging.Formatter):
    """One line for people: time, level, message and fields."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).astimezone()
        told = [f"{field}={value}" for field, value in _fields(record).items()]
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        line = f"{moment:%H:%M:%S} {record.name}: {level}{record.getMessage()}"
        if told:
            line += f" ({', '.join(told)})"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _JournalFormatter(logging.Formatter):
    """Lines of another formatter, each with the priority prefix that journald reads."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_PRIORITIES.get(record.levelname, 6)}>"
        return prefix + self._inner.format(record).replace("\n", f"\n{prefix}")


def configure(
    level: str,
    stream: TextIO = sys.stderr,
    form: str = "auto",
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Send the records of `level` and above to `stream`, in one of `FORMATS`."""
    plain = form == "plain" or (form == "auto" and stream.isatty())
    formatter: logging.Formatter = _PlainFormatter() if plain else _JsonFormatter()
    if _is_journal(stream, environment):
        formatter = _JournalFormatter(formatter)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def _is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Return whether journald reads `stream`: systemd names its device and inode."""
    named = environment.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(stream.fileno())
    except OSError:  # a stream in memory has no number
        return False
    return named == f"{found.st_dev}:{found.st_ino}"
