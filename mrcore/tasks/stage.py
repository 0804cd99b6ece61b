"""One task: read a split or merged runs, call the user's functions, write a run or a part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from mrcore.errors import KeyTypeError
from mrcore.model.formats import INPUT_FORMATS
from mrcore.model.skipping import is_pair
from mrcore.model.stages import Result
from mrcore.model.task import RunInput, Split, TaskOutput, TaskSpec
from mrcore.plugin.context import Context
from mrcore.plugin.functions import MapMany, StepFunctions, UserFunctions
from mrcore.plugin.running import noted
from mrcore.shuffle.budget import Budget
from mrcore.shuffle.combine import reduce_after
from mrcore.shuffle.groups import GroupStream
from mrcore.shuffle.user_code import UserCodeError
from mrcore.tasks.bad_keys import BadKeys
from mrcore.tasks.bad_pairs import GuardedMap
from mrcore.tasks.careful import CarefulMap
from mrcore.tasks.emit import (
    Emitter,
    MapStep,
    emitted,
    emitted_tables,
    finish,
    named_in_key_errors,
)
from mrcore.tasks.merged import MergedRows
from mrcore.tasks.outputs import PartOutput, RunOutput
from mrcore.tasks.progress import ProgressSink
from mrcore.tasks.record_errors import located
from mrcore.tasks.records import Records
from mrcore.tasks.reducer import Reducer, pass_on_columns
from mrcore.tasks.results import ResultOutput
from mrcore.tasks.skipped import Guard, Skipped, TooManyBadError
from mrcore.tasks.trials import judge_with

Output: TypeAlias = RunOutput | PartOutput | ResultOutput


@dataclass(frozen=True, slots=True)
class _Step:
    """One step as a stage uses it."""

    functions: StepFunctions
    of: str
    """Suffix of the names of its functions in errors: nothing, or ` of step 2`."""

    def named(self, function: str) -> str:
        return f"{function}{self.of}"


def _pass_record(key: Any, value: Any) -> Iterator[Any]:
    yield key, value


def _pass_batch(key: Any, batch: Any) -> Any:
    return batch


class StageTask:
    """One task of a stage. The parts of it are the same whatever the stage reads and writes."""

    def __init__(
        self,
        spec: TaskSpec,
        functions: UserFunctions,
        scratch: Path,
        progress: ProgressSink,
        context: Context,
    ) -> None:
        stage = spec.stage
        several = len(functions.steps) > 1
        steps = [
            _Step(each, f" of step {number}" if several else "")
            for number, each in enumerate(functions.steps, 1)
        ]
        self._spec = spec
        self._scratch = scratch
        self._progress = progress
        self._context = context
        self._total_order = stage.total_order
        # What a bad record has left in variables cannot be taken back: only in a new process.
        may_skip = bool(spec.job.max_bad_records) and not functions.keeps_state
        self._skipped = Skipped(spec, scratch)
        careful = spec.careful and may_skip
        self._guard = Guard(spec, progress, context, self._skipped, careful)
        read = spec.work.read
        group = read.group if isinstance(read, Split) else 0
        self._columnar = INPUT_FORMATS[spec.job.input_format_of(group)].is_columnar
        self._group_map = functions.groups[group].map if functions.groups else None
        self._reduce = None if stage.reduce_step is None else steps[stage.reduce_step]
        self._maps = [steps[number] for number in stage.map_steps]
        self._shuffled = None if stage.run_step is None else steps[stage.run_step]
        maps = [self._group_map, *(step.functions.get("map") for step in self._maps)]
        for each in maps:
            if isinstance(each, MapMany):
                each.begin_task(spec.attempt.task.index)
        budget = Budget.of(spec.memory_bytes)
        both = self._shuffled is not None and isinstance(spec.work.read, RunInput)
        self._budget = budget.halved() if both else budget

    def run(self) -> TaskOutput:
        """Run the task.

        Raises RecordError and UserCodeError for what the user's code does, KeyTypeError, DataError,
        LostRunError for runs that are gone or damaged, and StorageErrors.
        """
        read = self._spec.work.read
        with self._output() as output, closing(self._skipped):
            if isinstance(read, Split):
                result = self._map_split(read, output)
            else:
                assert isinstance(read, RunInput), "a call is not a task of a plugin"
                result = self._reduce_runs(read, output)
            return self._skipped.reported(result)

    def _output(self) -> AbstractContextManager[Output]:
        if isinstance(self._spec.stage.writes, Result):
            return ResultOutput(self._spec)
        if self._shuffled is None:
            return PartOutput.open(self._spec, self._scratch)
        return RunOutput(
            self._shuffled.functions,
            self._shuffled.of,
            partitions=self._spec.work.partitions,
            total_order=self._total_order,
            budget=self._budget,
            folder=self._scratch / "run",
            guard=self._guard,
        )

    def _emitters(
        self, output: Emitter, maps: list[_Step], guard: Guard | None = None
    ) -> list[Emitter]:
        """Return what takes the pairs before each of `maps`, and after the last of them.

        With a guard, pairs that are poison for one of `maps` are left out.
        """
        emitters = [output]
        for step in reversed(maps):
            then, is_last = emitters[0], step is maps[-1]
            if guard is None:
                emitters.insert(0, MapStep(step.functions, step.of, then))
            else:
                guarded = GuardedMap(step.functions, step.of, then, guard, is_last=is_last)
                emitters.insert(0, guarded)
        return emitters

    def _map_split(self, split: Split, output: Output) -> TaskOutput:
        # Where the first step has no map, its pairs are the records with their keys.
        passing: StepFunctions = {"map": _pass_batch if self._columnar else _pass_record}
        first, *rest = self._maps or [_Step(passing, " of step 1")]
        if self._group_map is not None:
            first = _Step({**first.functions, "map": self._group_map}, first.of)
        emitters = self._emitters(output, rest)
        records = Records(split, self._guard)
        self._map_records(first, [step.named("map") for step in rest], records, emitters[0])
        self._finish_maps([first, *rest], emitters)
        result = output.close()
        return msgspec.structs.replace(
            result,
            records_in=records.records,
            bytes_in=records.size_bytes,
        )

    def _map_records(self, step: _Step, later: list[str], records: Records, then: Emitter) -> None:
        """Call the map of a step for every record; `later` are the names of the maps after it."""
        user_map, name = step.functions["map"], step.named("map")
        many = user_map if isinstance(user_map, MapMany) else None
        columnar = self._columnar and many is None
        careful = None
        takes_each = not columnar if many is None else many.is_by_record
        if self._guard.careful and takes_each:
            careful = CarefulMap(user_map, name, records, self._context, then)
        for keys, values in records.batches():
            if many is not None and many.done:
                return
            batch = records.batch
            assert batch is not None
            count = len(batch.values)
            try:
                if columnar:
                    tables = emitted_tables(user_map, name, keys, values, count)
                    then.take_tables(name, noted(name, tables))
                else:
                    then.start_batch(count, batch.size_bytes)
                    if careful is not None:
                        # A later map that dies must die before the next record is marked.
                        careful.take(keys, values, in_bulk=not later)
                    elif later and self._spec.mark_records:
                        for key in keys:  # likewise
                            one = islice(values, 1)
                            then.take(name, emitted(user_map, name, (key,), one, 1))
                    else:
                        then.take(name, emitted(user_map, name, keys, values, count))
            except TooManyBadError:
                raise
            except (UserCodeError, KeyTypeError) as error:
                raise located(
                    error, batch, records.index, user_map, columnar, (name, *later), then
                ) from error

    def _reduce_runs(self, runs: RunInput, output: Output) -> TaskOutput:
        guard = self._guard
        notes = guard.careful or guard.marks or any(map(is_pair, guard.orders()))
        emitters = self._emitters(output, self._maps, guard if notes else None)
        rows = MergedRows(runs, self._budget, self._scratch, self._progress)
        try:
            if self._reduce is None:
                for chunk in rows.chunks():
                    pass_on_columns(chunk.columns, emitters[0])
            else:
                if runs.slices:  # without any there are no keys
                    self._reduce_keys(self._reduce, rows, emitters[0])
                self._finish_reduce(self._reduce, emitters[0])
            self._finish_maps(self._maps, emitters[1:])
            result = output.close()
        finally:
            rows.close()
        return msgspec.structs.replace(
            result,
            records_in=rows.records,
            bytes_in=rows.size_bytes,
        )

    def _reduce_keys(self, step: _Step, rows: MergedRows, then: Emitter) -> None:
        """Call the reduce of a step for every key."""
        combine = step.functions.get("combine") if self._spec.job.combine else None
        reduce = reduce_after(step.functions.get("reduce"), combine)
        assert reduce is not None
        name = step.named("reduce")
        keys = BadKeys(self._guard, name, judge_with(name, then, asks=not self._maps))
        last = self._maps[-1].named("map") if self._maps else name
        with named_in_key_errors(last):
            Reducer(keys.guarded(reduce), then, name).run(GroupStream(rows.chunks()))

    def _finish_reduce(self, step: _Step, then: Emitter) -> None:
        """Call the reduce_finish of a step."""
        function, name = step.functions.get("reduce_finish"), step.named("reduce_finish")
        finish(function, name, self._context, then)

    def _finish_maps(self, maps: list[_Step], emitters: list[Emitter]) -> None:
        """Call the map_finish of each step in turn: the next map still takes what it emits."""
        for step, then in zip(maps, emitters, strict=True):
            function, name = step.functions.get("map_finish"), step.named("map_finish")
            finish(function, name, self._context, then)
