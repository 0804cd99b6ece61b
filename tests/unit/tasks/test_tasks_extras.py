"""Tasks beside mapping and reducing: marks, skipped records, the context, Arrow, counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mrcore
from mrcore.errors import UsageError
from mrcore.model.job import JobSpec
from mrcore.model.task import FailureKind, Mark, Skip, TaskFailure, TaskOutput
from mrcore.plugin.context import Context
from mrcore.plugin.functions import UserFunctions
from mrcore.records.outputs import PartCounts
from mrcore.shuffle.arrow import pa
from mrcore.shuffle.columns import Columns, RowSource
from mrcore.shuffle.combine import Combiner
from mrcore.shuffle.groups import GroupStream
from mrcore.shuffle.keys import key_column
from mrcore.shuffle.merge import sort_in_memory
from mrcore.shuffle.user_code import PairReader
from mrcore.shuffle.values import value_column
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.registry import register
from mrcore.tasks import records as records_module
from mrcore.tasks.outputs import PartOutput
from mrcore.tasks.progress import NoProgress
from mrcore.tasks.reducer import Reducer
from tests.support.inprocess import Job, content_of, emitting, spec_of
from tests.support.task_functions import LINES, URI, failing_map, failing_reduce, generator_map


@pytest.fixture(autouse=True)
def _fresh_memory() -> None:
    register("mem", MemoryStorage)


def test_records_to_skip_are_skipped_and_reported() -> None:
    job = Job(["ab\ncd\nef\n"], UserFunctions(map=generator_map, reduce=mrcore.sum))
    output = job.run_map(0, skip=(Skip(Mark(URI, 3), "it raised"), Skip(Mark("mem://other", 0))))
    assert isinstance(output, TaskOutput)
    (bad,) = output.bad_records
    assert (bad.shown, bad.offset, bad.record) == ("in/0.txt", 3, "cd")
    assert bad.cause == "it raised"
    assert output.records_in == 2
    job.outputs.append(output)
    result = job.run_reduce(0, None)
    assert isinstance(result, TaskOutput)
    assert content_of(result) == b"ab\t1\nef\t1\n"


def broken_job(lines: int, allowed: int) -> Job:
    spec = spec_of(input_format="jsonl", max_bad_records=allowed)
    text = '"ab"\n' + "oops\n" * lines + '"cd"\n'
    return Job([text], UserFunctions(map=lambda k, v: [(v, 1)], reduce=mrcore.sum), spec=spec)


def test_broken_lines_are_skipped_where_the_job_may() -> None:
    output = broken_job(2, 2).run_map(0)
    assert isinstance(output, TaskOutput)
    assert [(b.shown, b.offset, b.record) for b in output.bad_records] == [
        ("in/0.txt", 5, "oops"),
        ("in/0.txt", 10, "oops"),
    ]
    assert "at byte 5 that is not valid JSON" in output.bad_records[0].cause
    assert output.records_in == 2
    failure = broken_job(3, 2).run_map(0)
    assert isinstance(failure, TaskFailure)
    assert failure.kind is FailureKind.DATA
    assert "at byte 15 that is not valid JSON" in failure.message


def test_what_one_task_skips_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "MAX_SKIPPED_IN_TASK", 3)
    assert isinstance(broken_job(3, 9).run_map(0), TaskOutput)
    failure = broken_job(4, 9).run_map(0)
    assert isinstance(failure, TaskFailure)
    assert "a map task can skip 3. Correct the input." in failure.message


class Recorder(NoProgress):
    """An observer that keeps all reports."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def status(self, text: str) -> None:
        self.said.append(text)

    def mark(self, piece_uri: str, offset: int) -> None:
        self.said.append((piece_uri, offset))


def test_progress_is_told_within_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "_REPORT_SECONDS", -1.0)
    told: list[tuple[float, int, int]] = []

    class Told(NoProgress):
        def update(self, fraction: float, records: int, bytes: int) -> None:  # noqa: A002
            told.append((fraction, records, bytes))

    Job(["ab\n" * 100], UserFunctions(map=generator_map), progress=Told()).run_map(0)
    assert told == [(n / 100, n, 3 * n) for n in (0, 32, 64, 96, 100)]


@pytest.mark.parametrize("line", [0, 31, 32, 33, 99])
@pytest.mark.parametrize("marking", [False, True])
def test_the_record_to_blame_is_told_anywhere_in_a_batch(line: int, marking: bool) -> None:
    lines = ["ab\n"] * 100
    lines[line] = "cd\n"
    functions = UserFunctions(map=lambda key, value: [(value, 1)] if value == "ab" else 1 / 0)
    failure = failing_map(functions, "".join(lines), extra={"mark_records": marking})
    assert failure.mark == Mark(URI, 3 * line)


@pytest.mark.parametrize("combine", [None, mrcore.sum])
def test_each_record_is_marked_before_it_is_mapped(combine: Any) -> None:
    recorder = Recorder()

    def user_map(key: Any, value: str) -> Iterator[Any]:
        recorder.said.append(value)
        yield value, 1

    job = Job(["ab\ncd\n"], UserFunctions(map=user_map, combine=combine), progress=recorder)
    job.run_map(0, mark_records=True)
    assert recorder.said == [(URI, 0), "ab", (URI, 3), "cd"]


def test_the_context_counts_speaks_and_has_params_and_files(tmp_path: Path) -> None:
    (tmp_path / "stop.txt").write_text("cd")
    kept: list[Context] = []

    def setup(context: Context) -> None:
        kept[:] = [context]
        context.status(f"{context.task} of {context.params['x']}")

    def user_map(key: Any, value: str) -> Any:
        (context,) = kept
        context.count("lines")
        if value not in context.file("stop.txt").read_text():
            context.count("kept", 10)
            return [(value, 1)]
        return None

    recorder = Recorder()
    functions = UserFunctions(map=user_map, setup=setup, files_folder=tmp_path)
    job = Job([LINES], functions, spec=spec_of(params={"x": "y", "a": "b"}), progress=recorder)
    output = job.run_map(0)
    assert isinstance(output, TaskOutput)
    assert output.counters == {"lines": 3, "kept": 20}
    assert list(kept[0].params) == ["a", "x"]
    assert recorder.said == ["map-00000 of y"]
    with pytest.raises(UsageError, match="no side file"):
        kept[0].file("../" + tmp_path.name)
    with pytest.raises(TypeError, match="takes a str and an int"):
        kept[0].count("half", 0.5)  # type: ignore[arg-type]


ARROW = spec_of(input_format="arrow")


@pytest.mark.parametrize(
    ("user_map", "said"),
    [
        (lambda key, batch: 5, "map gave 5: with --input-format arrow"),
        (lambda key, batch: batch, "map gave the columns line: it must give the columns key and"),
        (lambda key, batch: batch.column("nope"), "map raised KeyError:"),
        (
            lambda key, batch: pa.table({"key": [[1]], "value": [1]}),
            "the key [1] has the type list",
        ),
    ],
)
@pytest.mark.parametrize("spec", [ARROW, spec_of(input_format="arrow", map_only=True)])
def test_an_arrow_map_that_fails_says_so(user_map: Any, said: str, spec: JobSpec) -> None:
    if spec.map_only and ("type list" in said or "the columns line" in said):
        # What is not a key may still be written.
        job = Job(["ab\n"], UserFunctions(map=user_map), spec=spec)
        assert job.run() == [b"[1]\t1\n" if "type list" in said else b"ab\n"]
        return
    failure = failing_map(UserFunctions(map=user_map), "ab\n", spec=spec)
    assert failure.kind is FailureKind.USER
    assert said in failure.message
    assert "the record at offset 0 of in/0.txt: a batch of 1 row with the columns line" in (
        failure.message
    )


def test_counts_are_counted_once_and_bytes_are_told() -> None:
    texts, user_map = emitting([[("a", 1), ("b", 2), ("a", 3)]])
    job = Job(texts, UserFunctions(map=user_map, reduce=mrcore.sum, combine=mrcore.sum))
    job.spec = spec_of(output_format="jsonl")
    (part,) = job.run()
    (output,) = job.outputs
    assert (output.records_in, output.records_out, output.bytes_in) == (1, 3, len(texts[0]))
    assert output.object is not None
    assert output.bytes_out == output.object.size_bytes
    assert part.count(b"\n") == 2


class Part:
    """Keeps how many pairs each call was given."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def keep(self, thing: Any) -> Any:
        return thing

    def write(self, keys: Sequence[object], values: Sequence[object]) -> None:
        self.calls.append(len(keys))

    def write_columns(self, keys: Any, values: Any) -> None:
        self.calls.append(len(keys))

    def close(self) -> PartCounts:
        return PartCounts(sum(self.calls), 0, 0)

    def write_rows(self, rows: object) -> None:
        raise AssertionError("no rows are written")


def test_few_large_pairs_are_alive_at_once() -> None:
    def reduce(key: str, values: Iterator[str]) -> Iterator[Any]:
        for value in values:
            yield key, value

    part = Part()
    rows = [("k", "x" * 300_000), ("l", "y" * 300_000)] * 40
    keys, values = [key for key, _ in rows], [value for _, value in rows]
    batch = Columns(*key_column(keys), *value_column(values))
    with MemoryStorage().open_write("mem://out/part") as sink:
        output = PartOutput(part, sink)
    Reducer(reduce, output).run(GroupStream(sort_in_memory(RowSource([batch]))))
    assert part.close().records == 80
    assert max(part.calls) < 10


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: [text, 1],
        lambda text: {"a": (1, text)},
        lambda text: SimpleNamespace(text=text),
    ],
    ids=["list", "tuple in a dict", "object"],
)
def test_what_large_containers_hold_is_looked_at(wrap: Callable[[str], Any]) -> None:
    reader = PairReader("map", limit_bytes=1_000_000)
    pairs = iter([("k", wrap("x" * 400_000 + str(i))) for i in range(40)])
    sizes = []
    while keys := reader.read(pairs)[0]:
        sizes.append(len(keys))
    assert sum(sizes) == 40
    assert max(sizes) == 3


class Large(str):
    """A str that is counted while it is alive."""

    alive = 0
    most = 0

    def __init__(self, text: str) -> None:
        Large.alive += 1
        Large.most = max(Large.most, Large.alive)

    def __del__(self) -> None:
        Large.alive -= 1


@pytest.mark.parametrize("combine", [None, lambda key, values: next(values)])
def test_large_values_after_small_ones_are_drawn_few_at_a_time(combine: Any) -> None:
    def user_map(key: Any, value: str) -> Iterator[Any]:
        for i in range(5_000):
            yield f"k{i}", "small"
        for i in range(40):
            yield f"k{i % 3}", Large("x" * 1_000_000)

    Large.most = 0
    job = Job(["line\n"], UserFunctions(map=user_map, combine=combine), memory_bytes=1)
    assert isinstance(job.run_map(0), TaskOutput)
    assert 0 < Large.most < 20


def failure_of(job: Job) -> str:
    """Return the message of the first task of a job that fails: for its data."""
    try:
        job.run()
    except AssertionError as error:
        (failure,) = error.args
        assert isinstance(failure, TaskFailure), failure
        assert failure.kind is FailureKind.DATA, failure
        return failure.message
    raise AssertionError("no task has failed")


class Unreadable:
    """Pickled without ado, and never unpickled again."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("combine", [None, lambda key, values: next(iter(values))])
def test_a_value_that_cannot_be_unpickled_is_the_data_s_fault(count: int, combine: Any) -> None:
    def user_map(key: Any, value: str) -> Iterator[Any]:
        for _ in range(count):
            yield value, Unreadable()

    def reduce(key: Any, values: Iterator[Any]) -> int:
        try:
            return sum(1 for _ in values)
        except Exception:  # noqa: BLE001 - what users do
            return 0

    functions = UserFunctions(map=user_map, reduce=reduce, combine=combine)
    said = failure_of(Job(["a\nb\n"], functions))
    assert "cannot be unpickled (ValueError: invalid literal" in said


@pytest.mark.parametrize("reduce", [None, mrcore.max, lambda key, values: len(list(values))])
@pytest.mark.parametrize("column", ["key", "value"])
def test_times_that_python_cannot_hold_are_the_data_s_fault(column: str, reduce: Any) -> None:
    """Without pandas nanoseconds have no Python type."""

    def user_map(key: Any, batch: Any) -> Any:
        times = pa.array([1, 2**60 + 1], pa.timestamp("ns"))
        columns = {"key": pa.array(["a", "b"]), "value": pa.array([1, 2]), column: times}
        return pa.table(columns)

    functions = UserFunctions(map=user_map, reduce=reduce)
    job = Job(["x\n"], functions, spec=spec_of(input_format="arrow"))
    assert "timestamp[ns] holds a value that Python cannot" in failure_of(job)


def test_what_a_combiner_leaves_of_a_hot_key_is_not_held() -> None:
    """It may well leave every value."""

    def keep(key: Any, values: Iterator[Any]) -> Iterator[Any]:
        for value in values:
            yield key, value

    rows = [("hot", i) for i in range(40_000)]
    batch = Columns(*key_column([key for key, _ in rows]), *value_column([v for _, v in rows]))
    left = Combiner(keep).combine_stream(sort_in_memory(RowSource([batch])))
    sizes = list(map(len, left))
    assert sum(sizes) == 40_000
    assert max(sizes) < 2_000


def test_what_fails_while_a_combiner_reads_is_not_blamed_on_it() -> None:
    def chunks() -> Iterator[Any]:
        batch = Columns(*key_column(["a", "a"]), *value_column([1, 2]))
        yield from sort_in_memory(RowSource([batch]))
        raise OSError("the disk is gone")

    for combine in (lambda key, values: sum(values), swallowing):
        with pytest.raises(OSError, match="the disk is gone"):
            list(Combiner(combine).combine_stream(chunks()))


def swallowing(key: Any, values: Iterator[Any]) -> int:
    try:
        return sum(values)
    except OSError:
        return 0


@pytest.mark.parametrize("wrap", [lambda number: number, lambda number: (number, "x")])
def test_sort_keys_of_two_maps_may_be_ints_and_floats(wrap: Any) -> None:
    functions = UserFunctions(
        map=lambda key, value: [("k", value)],
        reduce=lambda key, values: list(values),
        sort_key=lambda value: wrap(2 if value == "x" else 1.5),
    )
    assert Job(["x\n", "y\n"], functions).run() == [b"k\t['y', 'x']\n"]
    assert Job(["y\n", "z\n"], functions).run() == [b"k\t['y', 'z']\n"]


def test_reduce_is_called_once_though_it_yields_no_pair() -> None:
    calls: list[str] = []

    def reduce(key: str, values: Iterator[int]) -> Iterator[Any]:
        calls.append(key)
        yield 5

    functions = UserFunctions(map=lambda key, value: [(value, 1)], reduce=reduce)
    failure = failing_reduce(functions)
    assert failure.message == "reduce yielded 5, not a (key, value) pair, for the key 'ab'"
    assert calls == ["ab"]
