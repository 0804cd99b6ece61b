"""One attempt at a task, as a function: what it did, or in words why it failed."""

from __future__ import annotations

import errno
import gc
import os
import shutil
from pathlib import Path
from typing import Any, Final

import msgspec

from mrcore.errors import (
    DataError,
    DiskFullError,
    KeyTypeError,
    MrcoreError,
)
from mrcore.model import object_names
from mrcore.model.slots import AMPLE_BYTES
from mrcore.model.stages import stage_name, task_name
from mrcore.model.task import (
    FailureKind,
    Mark,
    TaskFailure,
    TaskResult,
    TaskSpec,
)
from mrcore.plugin.functions import UserFunctions
from mrcore.plugin.tracebacks import is_from, user_traceback
from mrcore.shuffle.arrow import pa
from mrcore.shuffle.keys import shown
from mrcore.shuffle.reading import LostRunError
from mrcore.shuffle.user_code import UserCodeError, describe
from mrcore.storage import operations
from mrcore.tasks.bad_keys import key_mark, kind_of
from mrcore.tasks.fingerprints import fingerprint
from mrcore.tasks.progress import ProgressSink
from mrcore.tasks.record_errors import PieceError, RecordError, problem_of
from mrcore.tasks.setup import Setup
from mrcore.tasks.skipped import TooManyBadError
from mrcore.tasks.stage import StageTask
from mrcore.util.clock import SYSTEM, Clock
from mrcore.util.texts import lines, one_line, printable

GC_THRESHOLDS: Final = (100_000, 20, 20)
"""Thresholds of the garbage collector while a task runs."""
_MAX_MESSAGE: Final = 8_000
_DEEP: Final = "a key or value is nested too deeply to be handled: emit flatter data"

_SKIPPABLE: Final = ("map", "reduce", "combine", "sort_key")
"""Functions that fail for a record, a key or a pair, and not for all."""

__all__ = ["ProgressSink", "run_task"]


def run_task(
    spec: TaskSpec,
    functions: UserFunctions,
    scratch: Path,
    progress: ProgressSink,
    clock: Clock = SYSTEM,
    setup: Setup | None = None,
) -> TaskResult:
    """Run one attempt, with temporary files below `scratch`, which is left as it was found.

    `setup` is what this process keeps of the job between its tasks. Whatever the user's code, the
    data or the storage does comes back as a TaskFailure; only defects of our own are raised.
    """
    setup = setup or Setup(functions, spec.job.params)
    started = clock.monotonic()
    before = operations.counted()
    name = f"attempt-{spec.attempt.number}"
    folder = scratch / name
    thresholds = gc.get_threshold()
    # A task makes millions of small objects, hardly any of them in cycles: they are scanned less
    # often, but still are, since the user's code may well make cycles.
    gc.set_threshold(*GC_THRESHOLDS)
    # A slot is one core; and threads would have allocators of their own, which keep memory.
    pa.set_cpu_count(1)
    usual = pa.default_memory_pool()
    pool = frugal_pool() if 0 < spec.memory_bytes < AMPLE_BYTES else usual
    pa.set_memory_pool(pool)
    try:
        result = _run(spec, functions, setup, folder, progress)
    except MemoryError as error:
        result = _failure(FailureKind.USER, f"the task ran out of memory ({error})".strip())
    except LostRunError as error:
        run = task_name(stage_name(spec.job, error.run.stage), error.run.index)
        message = f"The run of {run} {error}"
        result = TaskFailure(kind=FailureKind.LOST_INPUT, message=message, lost_runs=(error.run,))
    except DataError as error:
        result = _failure(FailureKind.DATA, str(error))
    except DiskFullError:
        result = _failure(FailureKind.DATA, _full_message(spec))
    except MrcoreError as error:
        result = _failure(FailureKind.INFRASTRUCTURE, str(error))
    except BaseException as error:
        # Methods of the user's objects run in many places: as text is made of them, say.
        if not isinstance(error, KeyboardInterrupt) and is_from(error, functions.user_paths):
            result = _object_failure(error)
        elif isinstance(error, OSError):
            result = scratch_failure(spec.state_uri, error, scratch)
        elif isinstance(error, RecursionError):
            # Our loops have no such depth: it is that of an object of the user's.
            result = _failure(FailureKind.USER, _DEEP)
        else:
            raise
    finally:
        pa.set_memory_pool(usual)
        if pool is not usual:
            pool.release_unused()
        gc.set_threshold(*thresholds)
        _remove(f"{scratch}/{name}")  # as a path it would be put together anew
    result = tellable(result)
    if isinstance(result, TaskFailure):
        return result
    billed = operations.counted().since(before)
    return msgspec.structs.replace(
        result,
        elapsed_seconds=clock.monotonic() - started,
        class_a=billed.class_a,
        class_b=billed.class_b,
    )


def _remove(folder: str) -> None:
    """Remove the folder of an attempt, which hardly any small one has made."""
    if os.access(folder, os.F_OK):  # a look that raises would take several times as long
        shutil.rmtree(folder, ignore_errors=True)


def tellable(result: TaskResult) -> TaskResult:
    """Return the result with all texts as valid Unicode, and its sentences on one line.

    They may quote records and names that are not UTF-8, or that would steer a terminal.
    """
    if isinstance(result, TaskFailure):
        return msgspec.structs.replace(
            result,
            message=printable(one_line(result.message), _MAX_MESSAGE),
            traceback=lines(result.traceback),
        )
    counters: dict[str, int] = {}
    for name, count in result.counters.items():
        said = one_line(name)
        counters[said] = counters.get(said, 0) + count
    return msgspec.structs.replace(result, counters=counters)


def frugal_pool() -> Any:
    """Return the allocator for tight limits: the default keeps 30 to 60 MiB more for itself.

    In return the default sorts faster. Arrow's own code, such as the reader of blocks, asks none
    but the default of its process: that is for whoever starts the process to choose.
    """
    if "jemalloc" in pa.supported_memory_backends():
        pa.jemalloc_set_decay_ms(0)  # what is free goes back now: a peak must not depend on time
        return pa.jemalloc_memory_pool()
    return pa.system_memory_pool()


def _run(
    spec: TaskSpec, functions: UserFunctions, setup: Setup, folder: Path, progress: ProgressSink
) -> TaskResult:
    task = spec.attempt.task
    name = task_name(stage_name(spec.job, task.stage), task.index)
    try:
        context = setup.begin(name, progress.status)
        output = StageTask(spec, functions, folder, progress, context).run()
    except RecordError as failed:
        return _user_failure(failed.error, failed.sentence, failed.mark)
    except TooManyBadError as failed:
        return _user_failure(failed, failed.problem)
    except PieceError as failed:
        message = f"{problem_of(failed.error)} (in {failed.shown})"
        return _user_failure(failed.error, message, skippable=True)
    except UserCodeError as failed:
        where = f", for the key {shown(failed.key)}" if failed.has_key and failed.error else ""
        skippable = kind_of(failed.function) in _SKIPPABLE
        mark = _bad_key(spec, failed)
        return _user_failure(failed, f"{failed.problem}{where}", mark, skippable=skippable)
    except KeyTypeError as failed:
        return _user_failure(failed, str(failed), skippable=True)
    return msgspec.structs.replace(output, counters=dict(context.counters))


def _bad_key(spec: TaskSpec, failed: UserCodeError) -> Mark | None:
    """Return the mark of the key or pair that has failed, where it is known and may be skipped."""
    if not spec.job.max_bad_records:
        return None
    if not failed.has_key or kind_of(failed.function) not in ("reduce", "combine"):
        return failed.mark
    return key_mark(failed.key, failed.function)


def _user_failure(
    failed: Exception, message: str, mark: Mark | None = None, *, skippable: bool = False
) -> TaskFailure:
    error = failed.error if isinstance(failed, UserCodeError) else None
    return TaskFailure(
        kind=FailureKind.USER,
        message=message,
        traceback="" if error is None else user_traceback(error),
        mark=mark,
        skippable=skippable or mark is not None,
        fingerprint=fingerprint(failed, mark),
    )


def _object_failure(error: BaseException) -> TaskFailure:
    """Return the failure for what a method of a user's object has raised."""
    return TaskFailure(
        kind=FailureKind.USER,
        message=f"user code raised {describe(error)}",
        traceback=user_traceback(error),
        fingerprint=fingerprint(error),
    )


def _failure(kind: FailureKind, message: str) -> TaskFailure:
    return TaskFailure(kind=kind, message=message)


def _full_message(spec: TaskSpec) -> str:
    """Return a sentence without the attempt's own names: said twice, it ends the job."""
    job, work = spec.job, spec.work
    if job.temp_uri is not None and work.partitions:
        place = f"--temp {object_names.shown(job.temp_uri)}"
    elif not job.output_uri:
        place = f"the state {object_names.shown(spec.state_uri)}"
    else:
        place = f"the output {object_names.shown(job.output_uri)}"
    return f"no space is left below {place}: free some, or name another place"


def scratch_failure(state_uri: str, error: OSError, scratch: Path) -> TaskFailure:
    """Return the failure of an attempt for what a worker's own disk has refused."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        message = f"a temporary file below {scratch} failed: {error}"
        return _failure(FailureKind.INFRASTRUCTURE, message)
    problem = "no space is left for temporary files below"
    run = Path(object_names.shown(state_uri)).parent
    if scratch.is_relative_to(run / "scratch"):  # embedded: all workers write to this disk
        message = f"{problem} {run}: free some, or let XDG_STATE_HOME name another place"
        return _failure(FailureKind.DATA, message)
    message = f"{problem} {scratch}: free some, or start the worker with another --scratch"
    return _failure(FailureKind.INFRASTRUCTURE, message)
