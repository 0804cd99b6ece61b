"""Records, keys and pairs that a task skips, and the means of its functions to find them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import msgspec

from mrcore.model import object_names
from mrcore.model.skipping import task_skips_problem, trimmed
from mrcore.model.task import (
    BadRecord,
    Mark,
    Skip,
    StoredBadRecords,
    TaskOutput,
    TaskSpec,
)
from mrcore.plugin.context import Context
from mrcore.plugin.tracebacks import user_traceback
from mrcore.shuffle.user_code import UserCodeError
from mrcore.storage.base import ABSENT
from mrcore.storage.registry import storage_for
from mrcore.tasks.progress import ProgressSink
from mrcore.util.texts import encodable, lines, one_line

SAVED_CHARACTERS: Final = 1_024
"""Characters of a bad record, key or pair that are saved."""
_REPORTED: Final = 16
"""Bad records that travel with the result, into the journal and the master's memory."""
_SAVED_WHOLE: Final = 1_000
"""Bad records of a task that are saved with their tracebacks; those of others are shorter."""
_SHORT_CHARACTERS: Final = 200


def mark_number(place: bytes) -> int:
    """Return the number by which a mark tells the place of a key or pair from others."""
    digest = hashlib.blake2b(place, digest_size=7).digest()  # a signed number holds it
    return int.from_bytes(digest)


class TooManyBadError(UserCodeError):
    """A task meets more bad records than it may skip. It passes through the user's iterators."""

    def __init__(self, problem: str, last: str, error: Exception) -> None:
        """`problem` is what is wrong and what to do, `last` how the last record has failed."""
        raised = error.error if isinstance(error, UserCodeError) else None
        # With a key of its own, nobody on its way adds the key at work.
        super().__init__("", f"{problem} The last one: {last}.", error=raised, has_key=True)


class Skipped:
    """The records that one task has skipped so far: few in memory, or many in a file."""

    def __init__(self, spec: TaskSpec, folder: Path) -> None:
        """`folder` is that of the attempt's temporary files."""
        self._spec = spec
        self._folder = folder
        self._encoder = msgspec.json.Encoder()
        self._few: list[BadRecord] = []
        self._file: IO[bytes] | None = None
        self._count = 0
        self._last_cause = ""

    def __len__(self) -> int:
        return self._count

    @property
    def few(self) -> tuple[BadRecord, ...]:
        """Return what was skipped, in the order in which it was met, while it is not much."""
        return tuple(self._few)

    def add(self, bad: BadRecord) -> None:
        """Take in what the task is ordered to skip."""
        bad = _tellable(bad)
        self._count += 1
        self._last_cause = bad.cause
        if self._count <= _REPORTED:
            self._few.append(bad)
        elif self._spec.job.output_uri:
            self._write(bad)

    def _write(self, bad: BadRecord) -> None:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = (self._folder / "bad.jsonl").open("w+b")
            self._file.write(self._encoder.encode_lines(self._few))
        if self._count > _SAVED_WHOLE:
            bad = msgspec.structs.replace(bad, record=bad.record[:_SHORT_CHARACTERS], traceback="")
        self._file.write(self._encoder.encode(bad) + b"\n")

    def reported(self, output: TaskOutput) -> TaskOutput:
        """Return the output of the task with what it has skipped, which is stored if it is long."""
        if self._count <= _REPORTED:
            return msgspec.structs.replace(output, bad_records=self.few)
        info = None
        if self._file is not None:
            uri = object_names.staged_bad_records_uri(self._spec.job, self._spec.attempt)
            self._file.seek(0)
            with self._file, storage_for(uri).open_write(uri, expect=ABSENT) as sink:
                shutil.copyfileobj(self._file, sink, 1 << 20)
                info = sink.commit()
        stored = StoredBadRecords(self._count, self._last_cause, info)
        return msgspec.structs.replace(output, stored_bad_records=stored)

    def close(self) -> None:
        """Close the file of an attempt that has failed."""
        if self._file is not None:
            self._file.close()

    def give_up(
        self, shown: str, offset: int, record: str, *, sentence: str, error: Exception
    ) -> None:
        """Skip what the user's code cannot take, as `sentence` and `error` have it.

        Raises TooManyBadError where no more may be skipped. More attempts would not help.
        """
        problem = task_skips_problem(self._count + 1, self._spec.job.max_bad_records)
        if problem is not None:
            raise TooManyBadError(problem, sentence, error)
        raised = error.error if isinstance(error, UserCodeError) else None
        cause, traceback = trimmed(sentence, "" if raised is None else user_traceback(raised))
        self.add(BadRecord(shown, offset, cause, record, traceback))


def _tellable(bad: BadRecord) -> BadRecord:
    """Return a bad record with valid Unicode: it may quote what is not UTF-8."""
    return BadRecord(
        shown=encodable(bad.shown),
        offset=bad.offset,
        cause=one_line(bad.cause),
        record=encodable(bad.record),
        traceback=lines(bad.traceback),
    )


@dataclass(frozen=True, slots=True)
class Guard:
    """Means of a task to find and skip what its functions cannot take."""

    spec: TaskSpec
    progress: ProgressSink
    context: Context
    skipped: Skipped
    careful: bool
    """Whether what raises is given up at once, since a former attempt has failed."""

    @property
    def marks(self) -> bool:
        """Return whether what is at work is noted, in case it kills the process."""
        return self.spec.mark_records

    def orders(self) -> Mapping[Mark, Skip]:
        """Return what the task is ordered to skip, by its mark."""
        return {skip.mark: skip for skip in self.spec.skip}
