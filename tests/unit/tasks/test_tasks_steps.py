"""Jobs of several steps: what passes between them, in what order, and what errors name."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrcore
from mrcore import Step
from mrcore.model.task import TaskOutput
from mrcore.plugin.checks import check_functions
from mrcore.plugin.functions import UserFunctions
from mrcore.shuffle.budget import Budget
from mrcore.shuffle.encoding import encode
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.registry import register
from mrcore.tasks import stage as stage_module
from mrcore.tasks.merged import MergedRows
from tests.support.inprocess import Job, content_of, emitting, nothing, spec_of, tiny_budget
from tests.support.shuffle_keys import FLOATS, INTS, keys_with


@pytest.fixture(autouse=True)
def _fresh_memory() -> None:
    register("mem", MemoryStorage)


def plugin(*steps: Step, **shared: Any) -> UserFunctions:
    """Return a plugin of these steps."""
    return check_functions({"steps": list(steps), **shared}, name="job.py")


def words(key: Any, line: str) -> Iterator[Any]:
    for word in line.split():
        yield word, 1


def by_length(word: str, count: int) -> Iterator[Any]:
    yield len(word), (count, word)


def best(length: int, found: Any) -> Any:
    count, word = max(found)
    return word, count


def by_count(length: int, one: Any) -> Iterator[Any]:
    word, count = one
    yield count, (length, word)


def listed(key: Any, values: Any) -> list[Any]:
    return list(values)


THREE = (
    Step(map=words, combine=mrcore.sum, reduce=mrcore.sum),
    Step(map=by_length, reduce=best),
    Step(map=by_count, reduce=listed),
)
TEXTS = ["a bb a cc bb\nbb d\n", "cc bb eee\n", "d a eee eee\n"]


def expected_three() -> dict[int, list[Any]]:
    counts = Counter(" ".join(TEXTS).split())
    lengths: dict[int, list[Any]] = defaultdict(list)
    for word, count in counts.items():
        lengths[len(word)].append((count, word))
    out: dict[int, list[Any]] = defaultdict(list)
    for length, found in sorted(lengths.items()):
        count, word = max(found)
        out[count].append((length, word))
    return dict(sorted(out.items()))


@pytest.mark.parametrize("tiny", [False, True])
@pytest.mark.parametrize("combine", [False, True])
def test_three_steps_pass_pairs_on(tiny: bool, combine: bool) -> None:
    job = Job(TEXTS, plugin(*THREE), 1, spec_of(combine=combine))
    assert len(job.stages) == 4
    with tiny_budget() if tiny else nothing():
        (part,) = job.run()
    assert part.decode().splitlines() == [f"{c}\t{rows}" for c, rows in expected_three().items()]


def test_parts_do_not_depend_on_how_the_input_is_cut() -> None:
    whole = Job(["".join(TEXTS)], plugin(*THREE), 3).run()
    register("mem", MemoryStorage)
    assert Job(TEXTS, plugin(*THREE), 3).run() == whole


def test_only_the_last_step_is_in_total_order() -> None:
    parts = Job(TEXTS, plugin(*THREE), 2, spec_of(total_order=True)).run()
    keys = [int(line.split(b"\t")[0]) for part in parts for line in part.splitlines()]
    assert keys == sorted(expected_three())
    assert len(parts) == 2


def passed(key: Any, value: Any) -> Iterator[Any]:
    yield key, value


def first(key: Any, values: Any) -> Any:
    return next(values)


def same_type(found: Any, wanted: Any) -> bool:
    if type(found) is not type(wanted):
        return False
    if isinstance(wanted, tuple | list):
        return len(found) == len(wanted) and all(map(same_type, found, wanted))
    if isinstance(wanted, float) and math.isnan(wanted):
        return math.isnan(found)
    return bool(found == wanted)


MIXED = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(),
    st.lists(st.integers(), max_size=3), st.tuples(st.integers(), st.text()),
)  # fmt: skip
VALUES = (MIXED, st.integers(), st.floats(), st.text(), st.binary(), st.booleans())


def by_key(pairs: list[Any]) -> dict[bytes, list[Any]]:
    """Return the pairs of each key, in their order."""
    groups: dict[bytes, list[Any]] = defaultdict(list)
    for key, value in pairs:
        groups[encode(key)].append((key, value))
    return groups


@given(data=st.data(), tiny=st.booleans())
def test_keys_and_values_keep_their_types(data: st.DataObject, tiny: bool) -> None:
    numbers = data.draw(st.sampled_from((INTS, FLOATS)))
    values = data.draw(st.sampled_from(VALUES))
    pairs = data.draw(st.lists(st.tuples(keys_with(numbers), values), max_size=20))
    texts, user_map = emitting([pairs])
    seen: list[Any] = []

    def record(key: Any, value: Any) -> None:
        seen.append((key, value))

    # Through a run to a reduce, straight to a map, and through another run.
    functions = plugin(
        Step(map=user_map, reduce=listed),
        Step(map=lambda key, several: [(key, one) for one in several]),
        Step(map=passed, reduce=lambda key, values: ((key, value) for value in values)),
        Step(map=record),
    )
    with tiny_budget() if tiny else nothing():
        Job(texts, functions, spec=spec_of(map_only=True)).run()
    wanted, found = by_key(pairs), by_key(seen)
    assert wanted.keys() == found.keys()
    for key, expected in wanted.items():
        assert same_type([tuple(pair) for pair in found[key]], expected)


def test_steps_without_map_or_reduce() -> None:
    functions = plugin(
        Step(map=words),  # straight to the next map
        Step(map=lambda word, one: [(word[0], one)], combine=mrcore.count, reduce=mrcore.count),
        Step(reduce=lambda letter, counts: sum(counts) * 10),  # no map
    )
    job = Job(["ab ac b\n", "b a\n"], functions)
    assert [(s.reduce_step, s.map_steps, s.run_step) for s in job.stages] == [
        (None, (0, 1), 1),
        (1, (), 2),
        (2, (), None),
    ]
    assert job.run() == [b"a\t30\nb\t20\n"]


def test_a_first_step_without_map_reads_the_records() -> None:
    functions = plugin(Step(reduce=lambda place, lines: "".join(lines)))
    assert Job(["x\ny\n"], functions).run() == [b"('in/0.txt', 0)\tx\n('in/0.txt', 2)\ty\n"]
    register("mem", MemoryStorage)
    text = '{"key": "b", "value": 1}\n{"key": "a", "value": 2}\n{"key": "b", "value": 3}\n'
    job = Job([text], plugin(Step(reduce=mrcore.sum)), spec=spec_of(input_format="arrow"))
    output = job.run_map(0, "jsonl")
    assert isinstance(output, TaskOutput)
    job.outputs = [output]
    part = job.run_reduce(0)
    assert isinstance(part, TaskOutput)
    assert content_of(part) == b"a\t2\nb\t4\n"


def test_a_last_step_without_reduce_is_sorted_and_not_with_map_only() -> None:
    steps = [
        Step(map=words, reduce=mrcore.sum),
        Step(map=lambda word, count: [(-count, word), (0, word)]),
    ]
    text = ["b a b\n"]
    assert Job(text, plugin(*steps)).run() == [b"-2\tb\n-1\ta\n0\ta\n0\tb\n"]
    register("mem", MemoryStorage)
    assert Job(text, plugin(*steps), spec=spec_of(map_only=True)).run() == [
        b"-1\ta\n0\ta\n-2\tb\n0\tb\n"
    ]


def test_partition_and_sort_key_are_those_of_their_step() -> None:
    functions = plugin(
        Step(map=words, reduce=mrcore.sum, partition=lambda key, n: len(key) % n),
        Step(
            map=lambda word, count: [("all", (count, word))],
            sort_key=lambda value: value[1],
            partition=lambda key, n: n - 1,
            reduce=lambda key, found: list(found),
        ),
    )
    parts = Job(["c a bb\n", "bb c dd\n"], functions, 2).run()
    assert parts == [b"", b"all\t[(1, 'a'), (2, 'bb'), (2, 'c'), (1, 'dd')]\n"]


def test_objects_that_change_after_they_were_emitted() -> None:
    def growing(key: str, values: Any) -> Iterator[Any]:
        seen: list[int] = []
        for value in values:
            seen.append(value)
            yield key, seen

    same: list[int] = []

    def one_list(key: str, values: Any) -> list[int]:
        same.append(len(list(values)))
        return same

    got: list[Any] = []

    def keep(key: str, value: Any) -> None:
        got.append(value)

    for reduce, expected in ((growing, [[1], [1, 1], [1]]), (one_list, [[2], [2, 1]])):
        got.clear()
        register("mem", MemoryStorage)
        functions = plugin(Step(map=words, reduce=reduce), Step(map=keep))
        Job(["a a b\n"], functions, spec=spec_of(map_only=True)).run()
        assert got == expected


def test_finish_functions_of_every_step_are_called_in_turn() -> None:
    def finishing(name: str) -> Any:
        return lambda context: [(name, 1)]

    functions = plugin(
        Step(map=words, map_finish=finishing("m1")),
        Step(map=passed, map_finish=finishing("m2"), reduce=first, reduce_finish=finishing("r2")),
        Step(map=lambda key, value: [(f"<{key}>", value)], map_finish=finishing("m3")),
    )
    assert Job(["w\n"], functions, spec=spec_of(map_only=True)).run() == [
        b"<m1>\t1\n<m2>\t1\n<w>\t1\n<r2>\t1\nm3\t1\n"
    ]


def test_a_map_keeps_what_the_finish_of_the_map_before_it_emits() -> None:
    kept: list[Any] = []
    functions = plugin(
        Step(map=words, map_finish=lambda context: [("last", 1)]),
        Step(
            map=lambda key, value: kept.append((key, value)),
            map_finish=lambda context: list(kept),
        ),
    )
    assert Job(["w\n"], functions, spec=spec_of(map_only=True)).run() == [b"w\t1\nlast\t1\n"]


def test_arrow_tables_reach_the_map_of_the_next_step() -> None:
    def table(key: Any, batch: Any) -> Any:
        return pa.table({"key": batch.column("line"), "value": pa.array(range(batch.num_rows))})

    functions = plugin(Step(map=table), Step(map=lambda line, n: [(n, line)]))
    spec = spec_of(input_format="arrow")
    assert Job(["x\ny\n"], functions, spec=spec).run() == [b"0\tx\n1\ty\n"]


def test_a_task_that_merges_and_builds_shares_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget.of(1 << 30)
    half = budget.halved()
    for name in ("collect_bytes", "sort_bytes", "merge_bytes"):
        assert 2 * getattr(half, name) <= getattr(budget, name)
    used: list[Budget] = []

    class Noting(MergedRows):
        def __init__(self, runs: Any, budget: Budget, *rest: Any) -> None:
            used.append(budget)
            super().__init__(runs, budget, *rest)

    monkeypatch.setattr(stage_module, "MergedRows", Noting)
    job = Job(["a\n"], plugin(*THREE), memory_bytes=1 << 30)
    result = job.run_map(0)
    assert isinstance(result, TaskOutput)
    job.outputs = [result]
    for stage in (1, 2, 3):
        result = job.run_reduce(0, None, stage)
        assert isinstance(result, TaskOutput)
        job.outputs = [result]
    assert used == [half, half, budget]


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_merge_keeps_on_disk_is_removed_when_its_task_ends(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    closed: list[int] = []

    class Noting(MergedRows):
        def close(self) -> None:
            closed.append(self.records)
            super().close()

    def total(key: str, values: Any) -> int:
        return 1 // (not fails)

    monkeypatch.setattr(stage_module, "MergedRows", Noting)
    job = Job(["a b b\n"], plugin(Step(map=words, reduce=total)))
    result = job.run_map(0)
    assert isinstance(result, TaskOutput)
    job.outputs = [result]
    assert isinstance(job.run_reduce(0, None, 1), TaskOutput) == (not fails)
    assert closed == [3]


def test_the_last_step_writes_any_format() -> None:
    spec = spec_of(output_format="jsonl")
    functions = plugin(Step(map=words, reduce=mrcore.sum), Step(reduce=mrcore.max))
    assert Job(["b a b\n"], functions, spec=spec).run() == [
        b'{"key":"a","value":1}\n{"key":"b","value":2}\n'
    ]
