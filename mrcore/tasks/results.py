"""Results: the pairs that a task of the last stage leaves for the caller of a job."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Final, Self

from mrcore.errors import DataError
from mrcore.model import object_names
from mrcore.model.task import TaskOutput, TaskSpec
from mrcore.records.frames import FrameWriter
from mrcore.shuffle.user_code import unpicklable
from mrcore.storage.base import ABSENT, Writer
from mrcore.storage.registry import storage_for
from mrcore.tasks.emit import PairTaker
from mrcore.util.object_copies import UnpicklableValueError, kept

INLINE_BYTES: Final = 4_096
"""A longer result is an object. A call's may be longer (`MAX_RESULT_BYTES`): a job can have ten
thousand tasks, whose results would all lie in the journal and in the master's memory."""
MAX_BYTES: Final = 1 << 30
"""Bytes of the result of one task."""


class ResultOutput(PairTaker):
    """The result of a task: frames of pairs, in the report or in an object of the attempt's own."""

    def __init__(self, spec: TaskSpec) -> None:
        self._uri = object_names.result_uri(spec.state_uri, spec.job, spec.attempt)
        self._held: list[bytes] = []
        self._sink: Writer | None = None
        self._stack = ExitStack()
        self._frames = FrameWriter(self._put)
        self._records = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start_batch(self, records: int, size_bytes: int) -> None:
        """Do nothing: pairs are written as they come."""

    def write(self, function: str, keys: list[Any], values: list[Any]) -> None:
        """Write pairs; raise UserCodeError for one that cannot be pickled."""
        self._records += len(keys)
        try:
            self._frames.add((keys, values))
        except DataError:
            raise
        except Exception as error:  # which of them it was is looked for only now
            for key, value in zip(keys, values, strict=True):
                for each in (key, value):
                    try:
                        kept(each)
                    except UnpicklableValueError as problem:
                        raise unpicklable(function, key, each, problem) from error
            raise

    def judge(self, keys: list[Any], values: list[Any]) -> None:
        """Refuse nothing: without a shuffle keys need no order."""

    def _put(self, data: bytes) -> None:
        if self._frames.size_bytes + len(data) > MAX_BYTES:
            raise DataError(
                f"The result of one task is larger than {MAX_BYTES >> 20:,} MiB. Write an output, "
                "or return less."
            )
        if self._sink is None and self._frames.size_bytes + len(data) > INLINE_BYTES:
            storage = storage_for(self._uri)
            self._sink = self._stack.enter_context(storage.open_write(self._uri, expect=ABSENT))
            for held in self._held:
                self._sink.write(held)
            self._held.clear()
        if self._sink is None:
            self._held.append(data)
        else:
            self._sink.write(data)

    def close(self) -> TaskOutput:
        """Finish the result."""
        self._frames.close()
        info = None if self._sink is None else self._sink.commit()
        return TaskOutput(
            object=info,
            result=b"".join(self._held),
            records_out=self._records,
            bytes_out=self._frames.size_bytes,
        )
