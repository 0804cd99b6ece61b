"""Stages that a plugin states, on the wire and back, and graphs that are refused."""

from __future__ import annotations

import pytest

from mrcore.errors import UsageError
from mrcore.model.graph import Part, Run, Runs, Splits, Stage
from mrcore.rpc.convert_stages import stage_to_proto, stages_from_proto
from mrcore.rpc.v1 import plugin_pb2

GRAPH = (
    Stage(Splits((0, 2)), Run(), run_step=1),
    Stage(Splits((1,)), Run(total_order=True), run_step=0),
    Stage(Runs((0, 1)), Run(), 1, (2, 0), 1, tasks=7),
    Stage(Runs((2,)), Part(), None, (0,)),
)


def _plugin(stages: tuple[Stage, ...]) -> plugin_pb2.Plugin:
    return plugin_pb2.Plugin(
        steps=[plugin_pb2.Step()] * 3,
        groups=[plugin_pb2.InputGroup()] * 3,
        stages=map(stage_to_proto, stages),
    )


def test_stages_come_back_as_they_were() -> None:
    assert stages_from_proto(_plugin(GRAPH)) == GRAPH
    assert stages_from_proto(_plugin(())) == ()


FIRST, LAST = Stage(Splits((0,)), Run(), run_step=0), Stage(Runs((0,)), Part())


@pytest.mark.parametrize(
    ("stages", "problem"),
    [
        ((FIRST, Stage(Runs((0,)), Part(), reduce_step=3)), "Stage 2 .* names step 4"),
        ((FIRST,), "Stage 1 .* has to write a run unless it is the last"),
        ((LAST, LAST), "Stage 1 .* has to write a run"),
        ((Stage(Splits((3,)), Part()),), "reads an input group that the plugin does not have"),
        ((Stage(Splits(()), Part()),), "reads neither input groups nor runs"),
        ((FIRST, Stage(Runs((1,)), Part())), "reads a stage that is not before it"),
        ((FIRST, FIRST, Stage(Runs((1, 0)), Part())), "in ascending order"),
        ((FIRST, Stage(Runs((0,)), Part(), tasks=200_000)), "has 200,000 tasks"),
        (
            (FIRST, Stage(Runs((0,)), Run(), run_step=0, tasks=2), Stage(Runs((0, 1)), Part())),
            "another number of tasks",
        ),
    ],
)
def test_a_graph_that_cannot_be_run_is_refused(stages: tuple[Stage, ...], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        stages_from_proto(_plugin(stages))
