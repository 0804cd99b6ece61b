"""Planning: from the nodes of a dataset to the stages of one job. Pure: nothing is read or run.

Operations without a shuffle run in the task before or behind them. A dataset that is used twice has
one shuffle, which several stages read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mrcore.dataset.lowers import InOrder, Lower
from mrcore.dataset.nodes import Narrow, Node, Shuffle, Source, Union
from mrcore.dataset.pipeline import Lift, Operation, Pipeline
from mrcore.errors import UsageError
from mrcore.model.graph import Part, Reads, Run, Runs, Splits, Stage
from mrcore.model.stages import MAX_STAGES
from mrcore.plugin.functions import MAX_GROUPS
from mrcore.plugin.steps import Step


@dataclass(frozen=True, slots=True)
class Group:
    """One source, with the map function of its records: an input group of the job."""

    source: Source
    map: Pipeline


@dataclass(frozen=True, slots=True)
class Plan:
    """A job for a dataset."""

    groups: Sequence[Group]
    steps: Sequence[Step]
    stages: Sequence[Stage]
    titles: Sequence[Sequence[str]]
    """Operations of each stage, in the words of the dataset."""
    title: str
    """Action that asks for the elements."""

    def text(self) -> str:
        """Return the stages for people."""
        lines = []
        for number, (stage, titles) in enumerate(zip(self.stages, self.titles, strict=True), 1):
            reads = ""
            if isinstance(stage.reads, Runs):
                reads = f" of {', '.join(str(other + 1) for other in stage.reads.stages)}"
            kind = "reduce" if isinstance(stage.reads, Runs) else "map"
            lines.append(f"stage {number}: {kind}{reads}")
            lines += [f"    {title}" for title in titles]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Read:
    """Runs that the tasks of a stage read, and the reduce for them."""

    stages: tuple[int, ...]
    step: int | None
    shuffle: Shuffle


@dataclass(frozen=True, slots=True)
class _Branch:
    """Elements of one origin, and the operations behind it."""

    origin: Source | _Read
    operations: tuple[Operation, ...] = ()

    def pipeline(self, lower: Lower) -> Pipeline:
        """Return the map function that makes pairs of it."""
        origin = self.origin
        if isinstance(origin, Source):
            in_files = origin.items is None
            return Pipeline(origin.lift, self.operations, lower, in_files=in_files)
        return Pipeline(origin.shuffle.lift, self.operations, lower)

    @property
    def titles(self) -> list[str]:
        """Return what happens to it."""
        origin = self.origin
        first = origin.title if isinstance(origin, Source) else origin.shuffle.title
        return [" → ".join([first, *(each.title for each in self.operations)])]


@dataclass(slots=True)
class _Planner:
    groups: list[Group] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    titles: list[list[str]] = field(default_factory=list)
    _read: dict[int, _Read] = field(default_factory=dict)
    """Runs of each shuffle that was planned, by its identity."""

    def branches(self, node: Node) -> list[_Branch]:
        """Return the origins of a node's elements; stages before them are planned."""
        operations: list[Operation] = []
        while isinstance(node, Narrow):
            operations.append(node.operation)
            node = node.parent
        found: list[_Branch]
        match node:
            case Source():
                found = [_Branch(node)]
            case Union():
                found = [branch for parent in node.parents for branch in self.branches(parent)]
            case _:
                found = [_Branch(self._shuffled(node))]
        operations.reverse()
        return [_Branch(each.origin, (*each.operations, *operations)) for each in found]

    def _shuffled(self, node: Shuffle) -> _Read:
        """Plan the stages that write what a shuffle brings together."""
        known = self._read.get(id(node))
        if known is not None:
            return known
        sides = [(self.branches(side.parent), side.lower) for side in node.sides]
        number = self._add_step(
            Step(reduce=node.reduce, combine=node.combine, sort_key=node.sort_key)
        )
        # A side's stages have lower numbers than those of the sides behind it, and so its values
        # come first.
        writers = [
            stage
            for branches, lower in sides
            for stage in self._write(branches, lower, number, node.total_order)
        ]
        step = None if node.reduce is None else number
        read = self._read[id(node)] = _Read(tuple(writers), step, node)
        return read

    def _write(
        self, branches: Sequence[_Branch], lower: Lower, step: int, total_order: bool
    ) -> list[int]:
        """Plan stages that write runs of branches; neighbours that read input share one."""
        numbers: list[int] = []
        waiting: list[_Branch] = []

        def flush() -> None:
            if waiting:
                numbers.append(self._add_map(waiting, lower, Run(total_order), step))
                waiting.clear()

        for branch in branches:
            if isinstance(branch.origin, Source):
                waiting.append(branch)
                continue
            flush()
            numbers.append(self._add_reduce(branch, lower, Run(total_order), step))
        flush()
        return numbers

    def finish(self, node: Node, lower: Lower, title: str) -> Plan:
        """Plan the last stage."""
        branches = self.branches(node)
        if len(branches) > 1 and not all(isinstance(each.origin, Source) for each in branches):
            branches = [_Branch(self._joined(branches))]
        if isinstance(branches[0].origin, Source):
            self._add_map(branches, lower, Part(), None)
        else:
            self._add_reduce(branches[0], lower, Part(), None)
        self.titles[-1].append(title)
        if len(self.stages) > MAX_STAGES or len(self.groups) >= MAX_GROUPS:
            raise UsageError(
                f"The dataset needs {len(self.stages):,} stages and reads {len(self.groups):,} "
                f"inputs. The limits are {MAX_STAGES:,} and {MAX_GROUPS - 1:,}. Write a part, "
                "and read it."
            )
        return Plan(self.groups, self.steps, self.stages, self.titles, title)

    def _joined(self, branches: Sequence[_Branch]) -> _Read:
        """Bring branches of different kinds together, since one stage writes the output."""
        step = self._add_step(Step())
        writers = [
            number
            for place, branch in enumerate(branches)
            for number in self._write([branch], InOrder(place), step, total_order=True)
        ]
        shuffle = Shuffle(title="union", sides=(), lift=Lift.VALUE, total_order=True)
        return _Read(tuple(writers), None, shuffle)

    def _add_step(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def _add_map(
        self, branches: Sequence[_Branch], lower: Lower, writes: Run | Part, run_step: int | None
    ) -> int:
        first = len(self.groups)
        for branch in branches:
            assert isinstance(branch.origin, Source)
            self.groups.append(Group(branch.origin, branch.pipeline(lower)))
        reads = Splits(tuple(range(first, len(self.groups))))
        titles = [title for branch in branches for title in branch.titles]
        return self._add(Stage(reads, writes, run_step=run_step), titles)

    def _add_reduce(
        self, branch: _Branch, lower: Lower, writes: Run | Part, run_step: int | None
    ) -> int:
        read, pipeline = branch.origin, branch.pipeline(lower)
        assert isinstance(read, _Read)
        maps = () if pipeline.passes_on else (self._add_step(Step(map=pipeline)),)
        reads: Reads = Runs(read.stages)
        stage = Stage(reads, writes, read.step, maps, run_step, read.shuffle.tasks)
        return self._add(stage, branch.titles)

    def _add(self, stage: Stage, titles: list[str]) -> int:
        self.stages.append(stage)
        self.titles.append(titles)
        return len(self.stages) - 1


def plan(node: Node, lower: Lower, title: str = "collect") -> Plan:
    """Return the job for a dataset, whose last stage makes pairs by `lower`."""
    return _Planner().finish(node, lower, title)
