"""Plans of datasets: which stages they become, and that planning runs nothing."""

from __future__ import annotations

import operator

import mrcore
from mrcore.dataset.lowers import AsValues
from mrcore.dataset.planning import Plan, plan
from mrcore.model.graph import Run, Runs, Splits


def _plan(dataset: mrcore.Dataset) -> Plan:
    return plan(dataset.node, AsValues())


def _shape(made: Plan) -> list[tuple[int, ...]]:
    return [stage.reads.stages if isinstance(stage.reads, Runs) else () for stage in made.stages]


LINES = mrcore.read_text("nowhere/*.txt")
WORDS = LINES.flat_map(str.split).map(lambda word: (word, 1))


def test_neighbours_without_a_shuffle_share_a_stage() -> None:
    made = _plan(WORDS.filter(bool).map_values(str).keys())
    assert _shape(made) == [()]
    assert made.text().count("→") == 5


def test_each_shuffle_is_a_stage_more() -> None:
    counts = WORDS.reduce_by_key(operator.add).filter(lambda pair: pair[1] > 1)
    assert _shape(_plan(counts)) == [(), (0,)]
    assert _shape(_plan(counts.top(3).map(str).distinct())) == [(), (0,), (1,), (2,)]


def test_top_is_found_by_one_task() -> None:
    assert [stage.tasks for stage in _plan(WORDS.top(3)).stages] == [0, 1]


def test_a_join_reads_two_stages_and_the_left_one_is_first() -> None:
    made = _plan(WORDS.reduce_by_key(operator.add).join(WORDS))
    assert _shape(made) == [(), (0,), (), (1, 2)]


def test_a_shuffle_that_is_used_twice_is_written_once() -> None:
    counts = WORDS.reduce_by_key(operator.add)
    assert _shape(_plan(counts.join(counts.map_values(str)))) == [(), (0,), (0,), (1, 2)]


def test_sources_of_a_union_share_a_stage_and_others_meet_in_one() -> None:
    both = _plan(LINES.union(mrcore.read_csv("b.csv"), LINES))
    assert [stage.reads for stage in both.stages] == [Splits((0, 1, 2))]
    assert [group.source.format for group in both.groups] == ["text", "csv", "text"]
    mixed = _plan(LINES.distinct().union(LINES))
    assert _shape(mixed) == [(), (0,), (), (1, 2)]
    assert mixed.stages[1].writes == Run(total_order=True)
    shuffled = _plan(LINES.distinct().union(LINES).distinct())
    assert _shape(shuffled) == [(), (0,), (), (1, 2)]


def test_explain_names_the_operations_and_shows_itself() -> None:
    text = WORDS.reduce_by_key(operator.add).sort_by(reverse=True).explain()
    assert (
        repr(text)
        == str(text)
        == (
            "stage 1: map\n"
            "    read_text(nowhere/*.txt) → flat_map(split) → map(<lambda>)\n"
            "stage 2: reduce of 1\n"
            "    reduce_by_key(add)\n"
            "stage 3: reduce of 2\n"
            "    sort_by(itself, reverse)\n"
            "    collect"
        )
    )
