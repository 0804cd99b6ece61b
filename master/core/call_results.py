"""Results of calls as they are kept until they are released, in full or cut to save memory."""

from __future__ import annotations

from typing import Final

import msgspec

from mrcore.model.task import MAX_PRINTED_BYTES, TaskFailure, TaskOutput

CUT_BYTES: Final = 1_024
"""Length of each text of a result where the master is short of memory (`room.is_short`)."""


def lean(output: TaskOutput, *, short: bool) -> TaskOutput:
    """Return what is kept of what a call has left; with `short` only the end of its prints."""
    return TaskOutput(
        object=output.object,
        result=output.result,
        printed=output.printed[-(CUT_BYTES if short else MAX_PRINTED_BYTES) :],
        elapsed_seconds=output.elapsed_seconds,
        class_a=output.class_a,
        class_b=output.class_b,
    )


def cut(failure: TaskFailure) -> TaskFailure:
    """Return a failure that takes little memory: of a long exception the text is kept."""
    fits = len(failure.exception) <= CUT_BYTES
    return msgspec.structs.replace(
        failure,
        traceback=failure.traceback[-CUT_BYTES:],
        exception=failure.exception if fits else b"",
        printed=failure.printed[-CUT_BYTES:],
    )
