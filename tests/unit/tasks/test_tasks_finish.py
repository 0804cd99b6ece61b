"""`map_finish` and `reduce_finish`: when they are called, what they may emit, how they fail."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pytest

import mrcore
from mrcore.model.job import JobSpec
from mrcore.model.task import FailureKind, Mark, Skip, TaskFailure, TaskOutput
from mrcore.plugin.functions import UserFunctions
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.registry import register
from tests.support.inprocess import Job, nothing, spec_of, tiny_budget
from tests.support.supervised_worker import SupervisedWorker, in_house

TEXTS = ["b a\na\n", "c\n", "a c\n"]


@pytest.fixture(autouse=True)
def _fresh_memory() -> None:
    register("mem", MemoryStorage)


def counting(**more: Any) -> UserFunctions:
    """Return a word count that keeps a Counter over the records of a task."""
    counts: Counter[str] = Counter()

    def user_map(key: Any, line: str) -> None:
        counts.update(line.split())

    def map_finish(context: Any) -> Iterator[Any]:
        yield from counts.items()
        counts.clear()

    return UserFunctions(map=user_map, map_finish=map_finish, **{"reduce": mrcore.sum, **more})


COUNTED = [b"a\t3\nb\t1\nc\t2\n"]


@pytest.mark.parametrize("combine", [None, mrcore.sum, lambda key, values: sum(values)])
@pytest.mark.parametrize("tiny", [False, True])
def test_a_counter_kept_over_the_records_of_a_task(
    combine: Callable[..., Any] | None, tiny: bool
) -> None:
    more = {} if combine is None else {"combine": combine}
    with tiny_budget() if tiny else nothing():
        assert Job(TEXTS, counting(**more)).run() == COUNTED


def test_it_meets_partition_and_total_order() -> None:
    parts = Job(TEXTS, counting(partition=lambda key, n: int(key == "b")), 2).run()
    assert parts == [b"a\t3\nc\t2\n", b"b\t1\n"]
    parts = Job(TEXTS, counting(), 2, spec_of(total_order=True)).run()
    assert b"".join(parts) == COUNTED[0]


def test_what_it_emits_is_sorted_by_sort_key() -> None:
    functions = UserFunctions(
        map=lambda key, line: [("k", len(line))],
        map_finish=lambda context: [("k", 0), ("k", 9)],
        sort_key=lambda value: -value,
        reduce=lambda key, values: list(values),
    )
    assert Job(["aa\na\n"], functions).run() == [b"k\t[9, 2, 1, 0]\n"]


def test_a_map_only_job_writes_what_it_emits_last() -> None:
    functions = UserFunctions(
        map=lambda key, line: [(line, 1)],
        map_finish=lambda context: {"last of": context.task},
    )
    parts = Job(["x\ny\n", "z\n"], functions, spec=spec_of(map_only=True)).run()
    assert parts == [b"x\t1\ny\t1\nlast of\tmap-00000\n", b"z\t1\nlast of\tmap-00001\n"]


def best(n: int) -> UserFunctions:
    """Return a job that keeps the n best words of each reduce task."""
    found: list[tuple[int, str]] = []

    def reduce(key: str, values: Iterable[int]) -> None:
        heapq.heappush(found, (sum(values), key))
        if len(found) > n:
            heapq.heappop(found)

    def reduce_finish(context: Any) -> list[Any]:
        emitted = [(word, count) for count, word in sorted(found, reverse=True)]
        found.clear()
        return emitted

    return UserFunctions(
        map=lambda key, line: [(word, 1) for word in line.split()],
        reduce=reduce,
        reduce_finish=reduce_finish,
        partition=lambda key, n: int(key == "b"),
    )


def test_the_best_of_a_reduce_task() -> None:
    assert Job(TEXTS, best(1), 2).run() == [b"a\t3\n", b"b\t1\n"]


def test_a_reduce_task_without_keys_finishes_too() -> None:
    functions = UserFunctions(
        map=lambda key, line: None,
        reduce=lambda key, values: 1,
        reduce_finish=lambda context: [("task", context.task)],
    )
    assert Job(["x\n"], functions, 2).run() == [
        b"task\treduce-00000\n",
        b"task\treduce-00001\n",
    ]


def test_pairs_are_counted_and_context_counts() -> None:
    def map_finish(context: Any) -> None:
        context.count("finished")

    functions = UserFunctions(map=lambda key, line: [(line, 1)], map_finish=map_finish)
    output = Job(["x\ny\n"], functions).run_map(0)
    assert isinstance(output, TaskOutput)
    assert (output.records_out, dict(output.counters)) == (2, {"finished": 1})
    register("mem", MemoryStorage)
    output = Job(TEXTS, counting()).run_map(0)
    assert isinstance(output, TaskOutput)
    assert (output.records_in, output.records_out) == (2, 2)


def test_with_arrow_it_emits_plain_pairs() -> None:
    seen: list[int] = []

    def user_map(key: Any, batch: Any) -> Any:
        seen.append(batch.num_rows)
        return pa.table({"key": batch.column("line"), "value": pa.array([1] * batch.num_rows)})

    spec = spec_of(input_format="arrow")
    for map_only in (False, True):
        seen.clear()
        functions = UserFunctions(
            map=user_map, map_finish=lambda context: [("rows", sum(seen))], reduce=mrcore.sum
        )
        spec = spec_of(input_format="arrow", map_only=map_only)
        assert Job(["x\ny\n"], functions, spec=spec).run() == [
            b"x\t1\ny\t1\nrows\t2\n" if map_only else b"rows\t2\nx\t1\ny\t1\n"
        ]


def failing(functions: UserFunctions, spec: JobSpec | None = None) -> TaskFailure:
    """Return how the first task fails whose function is to blame."""
    job = Job(["ab\n"], functions, spec=spec or spec_of())
    result = job.run_map(0)
    if isinstance(result, TaskOutput):
        job.outputs.append(result)
        result = job.run_reduce(0, None)
    assert isinstance(result, TaskFailure), result
    assert result.kind is FailureKind.USER
    return result


def raising(context: Any) -> None:
    raise LookupError("no model")


def raising_later(context: Any) -> Iterator[Any]:
    yield "k", 1
    raise LookupError("no model")


@pytest.mark.parametrize(
    ("name", "map_only"), [("map_finish", False), ("map_finish", True), ("reduce_finish", False)]
)
@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (raising, "{} raised LookupError: no model"),
        (raising_later, "{} raised LookupError: no model"),
        (lambda context: iter([3]), "{} yielded 3, not a (key, value) pair"),
        (lambda context: 3, "{} returned 3, not pairs: yield (key, value), or return a list of"),
        (lambda context: ("k", 1), "{} returned ('k', 1), one pair by itself: yield it, or"),
    ],
)
def test_errors_name_the_function(
    name: str, map_only: bool, function: Callable[..., Any], problem: str
) -> None:
    given: dict[str, Any] = {"map": lambda key, line: [(line, 1)], "reduce": mrcore.sum}
    given[name] = function
    failure = failing(UserFunctions(**given), spec_of(map_only=map_only))
    assert failure.message.startswith(problem.format(name))
    assert "record" not in failure.message
    assert failure.mark is None
    if "raised" in problem:
        assert f"in {function.__name__}" in failure.traceback


def test_a_key_that_cannot_be_is_that_of_map_finish() -> None:
    functions = UserFunctions(
        map=lambda key, line: [(line, 1)], map_finish=lambda context: [([1], 1)]
    )
    message = failing(functions).message
    assert message.startswith("the key [1] has the type list: ")
    assert message.endswith(" (emitted by map_finish)")


def test_skipped_records_do_not_keep_it_from_being_called() -> None:
    functions = counting()
    skip = (Skip(Mark("mem://in/0.txt", 4)),)
    job = Job(["b a\nbad\n"], functions, spec=spec_of(max_bad_records=1))
    output = job.run_map(0, skip=skip)
    assert isinstance(output, TaskOutput)
    assert (len(output.bad_records), output.records_out) == (1, 2)


@in_house()
async def test_what_a_failed_attempt_has_kept_is_not_emitted_by_another(
    house: SupervisedWorker,
) -> None:
    house.job(
        """
        import os
        seen = []
        def map(key, value):
            seen.append(value)
            if value == "bad":
                raise ValueError(value)
        def map_finish(context):
            yield os.getpid(), list(seen)
            seen.clear()
        """
    )
    out = house.folder / "out-job/_tmp/job/staged"

    async def written(text: str) -> list[str]:
        before = set(out.glob("*")) if out.exists() else set()
        assert isinstance(await house.result(house.give(text)), TaskOutput)
        (part,) = set(out.glob("*")) - before
        return part.read_text().rstrip("\n").split("\t")

    first, second = await written("a\nb\n"), await written("c\n")
    assert (first[1], second[1]) == ("['a', 'b']", "['c']")
    assert first[0] == second[0], "one process serves both"
    failed, behind = house.give("d\nbad\n"), house.give("e\n")
    assert (await house.failure(failed)).message.startswith("map raised ValueError: bad, on the")
    assert isinstance(await house.result(behind), TaskOutput)
    (part,) = [path for path in out.glob("*") if "['e']" in path.read_text()]
    assert not part.read_text().startswith(first[0]), "another process, which knows nothing of d"
