"""Records that are poison for their process: each is named, whatever it does."""

from __future__ import annotations

import ctypes
import os

from mrcore.calls.exceptions import load_exception
from mrcore.calls.payload import load_outcomes
from mrcore.model.skipping import item_mark, skip_at
from mrcore.model.task import FailureKind, Mark, Skip, TaskOutput
from tests.support.supervised_worker import SupervisedWorker, in_house

POISON = """
import ctypes, itertools, os

def block():
    os.read(os.pipe()[0], 1)

KINDS = {
    "loop": lambda: spin(),
    "C code that holds the GIL": lambda: sum(itertools.repeat(0)),
    "blocking read": block,
    "segmentation fault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(3),
    "memory": lambda: (b"x" * (600 << 20), block()),
}

def spin():
    while True:
        pass

def map(key, value):
    if value == "endless pairs":
        while True:
            yield 1, 1
    if value in KINDS:
        KINDS[value]()
    yield value, 1

def combine(key, values):
    if key == "key of combine":
        spin()
    return sum(values)
"""
LATE = "took longer than the 0.3 s that --record-timeout allows for one"
CAUSES = {
    "loop": LATE,
    "C code that holds the GIL": LATE,
    "blocking read": LATE,
    "endless pairs": LATE,
    "segmentation fault": "crashed with a segmentation fault (signal 11) without a traceback",
    "exit": "exited with status 3 without a traceback",
    "memory": "MiB of the 300 MiB that --memory allows a slot: hold less at once, or give more",
}


@in_house(slots=2)
async def test_a_record_that_is_poison_is_named(house: SupervisedWorker) -> None:
    house.job(POISON, record_timeout_seconds=0.3)
    house.job(POISON, "memory", memory_bytes=300 << 20)
    given = {
        record: house.give(
            f"a\n{record}\nb\n", "memory" if record == "memory" else "job", mark=True
        )
        for record in CAUSES
    }
    for record, cause in CAUSES.items():
        failure = await house.failure(given[record])
        number = given[record].task.index
        assert (failure.kind, failure.died) == (FailureKind.USER, True)
        place = f"the process of map task {number}, at work on the record at offset 2 of "
        assert failure.message.startswith(f"{place}input-{number}, "), failure.message
        assert failure.message.endswith(cause), failure.message
        assert failure.mark == Mark(f"file://{house.folder}/input-{number}", 2)
    assert isinstance(await house.result(house.give("a\nb\n")), TaskOutput)


@in_house()
async def test_a_key_that_is_poison_for_combine_is_named(house: SupervisedWorker) -> None:
    house.job(POISON, record_timeout_seconds=0.3, map_only=False)
    failure = await house.failure(house.give("a\n" + "key of combine\n" * 3, partitions=2))
    assert f", at work on the key 'key of combine' in combine, {LATE}" in failure.message
    assert failure.mark is not None
    assert failure.mark.uri == "key of combine 'key of combine'"


@in_house()
async def test_an_item_that_is_poison_is_named_and_given_up(house: SupervisedWorker) -> None:
    def poison(kind: str) -> str:
        if kind == "crash":
            ctypes.string_at(0)
        held = b""
        if kind == "memory":
            held = b"x" * (600 << 20)
        if kind in ("late", "memory"):
            os.read(os.pipe()[0], 1)
        return kind if held is not None else ""

    house.session("calls", task_timeout_seconds=0.4)
    objects = house.session("large", memory_bytes=300 << 20)
    call = objects.each(poison, [("a",), ("crash",), ("late",), ("b",)])
    skip: tuple[Skip, ...] = ()
    for item, died in ((1, True), (2, False)):
        failure = await house.failure(house.make(call, skip=skip))
        assert (failure.mark, failure.died) == (item_mark(item), died)
        assert failure.mark is not None
        skip = (*skip, skip_at(failure.mark, failure))
    result = await house.result(house.make(call, skip=skip))
    assert isinstance(result, TaskOutput)
    outcomes = load_outcomes(result.result)
    assert outcomes.values == ["a", None, None, "b"]
    crash, late = outcomes.failures[1], outcomes.failures[2]
    assert "at work on item 1 of its list, crashed with a segmentation fault" in crash.message
    assert not crash.exception
    error = load_exception(late.exception, late.message, late.traceback)
    assert type(error) is TimeoutError
    assert "ran longer than the 0.4 s that timeout= allows" in str(error)
    failure = await house.failure(house.make(objects.each(poison, [("a",), ("memory",)]), "large"))
    assert (failure.mark, failure.died) == (item_mark(1), True)
    assert "MiB of the 300 MiB that a call may use" in failure.message
