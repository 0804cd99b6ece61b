"""Running sums of the stages of a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrcore.model.snapshots import StageView
from mrcore.model.stages import Splits, StagePlan
from mrcore.model.task import TaskOutput


@dataclass
class StageSums:
    """Sums over the tasks of a stage that are done: to show the job after each must stay cheap."""

    tasks: int = 0
    attempts: int = 0
    records_in: int = 0
    records_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    bad_records: int = 0

    def add(self, output: TaskOutput) -> None:
        """Add what a task has left."""
        self.tasks += 1
        self.records_in += output.records_in
        self.records_out += output.records_out
        self.bytes_in += output.bytes_in
        self.bytes_out += output.bytes_out
        self.bad_records += output.skipped

    def view(self, name: str, tasks: int) -> StageView:
        """Return where the stage of this name stands."""
        return StageView(
            name=name,
            tasks=tasks,
            idle=tasks - self.tasks,
            completed=self.tasks,
            records=self.records_in,
            bytes=self.bytes_in,
            done_tasks=float(self.tasks),
            records_out=self.records_out,
            bytes_out=self.bytes_out,
            attempts=self.attempts,
        )


def input_records(stages: Sequence[StagePlan], figures: Sequence[StageSums]) -> int:
    """Return the records of the job's input that were mapped; `figures` may lack stages."""
    read = zip(stages, figures, strict=False)
    return sum(sums.records_in for stage, sums in read if isinstance(stage.reads, Splits))


def records_read(stages: Sequence[StagePlan], figures: Sequence[StageSums]) -> int | None:
    """Return the number of all records of the input, with those that were skipped.

    None while some are yet to be read.
    """
    done = [sums.tasks for sums in figures] + [0] * (len(stages) - len(figures))
    for stage, tasks in zip(stages, done, strict=True):
        if isinstance(stage.reads, Splits) and tasks < stage.tasks:
            return None
    return input_records(stages, figures) + sum(sums.bad_records for sums in figures)
