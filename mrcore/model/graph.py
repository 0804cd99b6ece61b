"""Vocabulary of a job's graph: what the tasks of a stage read, call and write."""

from __future__ import annotations

import msgspec


class Splits(msgspec.Struct, frozen=True, tag="splits"):
    """A task for each split of the job's input, or of some of its input groups."""

    groups: tuple[int, ...] = ()
    """Numbers of the input groups (`Plugin.groups`); none stands for the whole input."""

    def takes(self, group: int) -> bool:
        """Return whether the tasks read the splits of an input group."""
        return not self.groups or group in self.groups


class Runs(msgspec.Struct, frozen=True, tag="runs"):
    """A task for each partition: it merges that partition of every run of earlier stages.

    Values of a key come by stage, then by task of that stage, then as they were emitted, unless
    the step has a `sort_key`.
    """

    stages: tuple[int, ...]
    """Numbers of the stages that wrote the runs, ascending."""


class Calls(msgspec.Struct, frozen=True, tag="calls"):
    """A task for each call that the client of a session has added."""


Reads = Splits | Runs | Calls


class Run(msgspec.Struct, frozen=True, tag="run"):
    """A sorted and partitioned run, an object for each attempt."""

    total_order: bool = False
    """Cut by key ranges that are chosen when the stage is complete, not by a partition function."""


class Part(msgspec.Struct, frozen=True, tag="part"):
    """A part of the output, staged until the job commits."""


class Result(msgspec.Struct, frozen=True, tag="result"):
    """A value for the caller: inside the attempt's report, or an object where it is large."""


Writes = Run | Part | Result


class StagePlan(msgspec.Struct, frozen=True):
    """The shape of a stage, for scheduling: how many tasks, what they read and write."""

    tasks: int
    reads: Reads
    writes: Writes

    @property
    def inputs(self) -> tuple[int, ...]:
        """Return the numbers of the stages that it reads."""
        return self.reads.stages if isinstance(self.reads, Runs) else ()


class Stage(msgspec.Struct, frozen=True):
    """Work of the tasks of a stage, by step of the plugin."""

    reads: Reads
    writes: Writes
    reduce_step: int | None = None
    """Step whose `reduce` is called for each key; None passes what was read on."""
    map_steps: tuple[int, ...] = ()
    """Steps whose `map` functions are then applied, one after the other."""
    run_step: int | None = None
    """Step whose `combine`, `partition` and `sort_key` shape the run; None writes no run."""
    tasks: int = 0
    """Number of tasks that read runs; 0 leaves it to the job's number of reduce tasks."""

    @property
    def total_order(self) -> bool:
        """Return whether its run is cut by key ranges."""
        return isinstance(self.writes, Run) and self.writes.total_order
