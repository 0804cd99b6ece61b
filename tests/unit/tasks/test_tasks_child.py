"""User code in a child, and what the agent makes of it: real processes."""

from __future__ import annotations

import pytest

from mrcore.model.task import FailureKind, TaskOutput
from tests.support.supervised_worker import SupervisedWorker, in_house

DIES = """
import ctypes
def die():
    ctypes.string_at(0)
class Odd:
    def __reduce__(self):
        die()
def map(key, value):
    if value == "map":
        die()
    yield value, Odd() if value == "pickle" else 1
def reduce(key, values):
    return sum(values)
"""
COMBINE = "def combine(key, values):\n    die()\n"
PARTITION = "def partition(key, n):\n    die()\n"
SORT_KEY = "def sort_key(value):\n    die()\n"


@pytest.mark.parametrize(
    ("function", "record", "place"),
    [
        ("", "map", ", at work on the record at offset 4 of input-1, "),
        ("", "pickle", ", at work on the record at offset 4 of input-1, "),
        (COMBINE, "x", ", at work on the key 'x' in combine, "),
        (PARTITION, "x", ", in partition, "),
        (SORT_KEY, "x", ", in sort_key, "),
    ],
)
def test_only_a_death_in_map_or_combine_blames_a_record_or_key(
    function: str, record: str, place: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @in_house()
    async def test(house: SupervisedWorker) -> None:
        house.job(DIES + function, map_only=False)
        failure = await house.failure(house.give(f"x\nx\n{record}\n", mark=True, partitions=2))
        assert failure.died
        assert failure.message.startswith(f"the process of map task 1{place}crashed")
        if function == COMBINE:
            assert failure.mark is not None
            assert failure.mark.uri == "key of combine 'x'"
        else:
            assert (failure.mark is not None) == (record != "x")

    test(tmp_path_factory.mktemp("house"))


@pytest.mark.parametrize(
    "steps",
    [
        "file = os.open(MINE, os.O_RDWR | os.O_APPEND); os.dup2(file, 1); os.close(file)",
        "os.close(1); held.append(open(MINE, 'r+b'))",
        "os.closerange(64, 256); held.extend(open(MINE, 'r+b') for _ in range(64))",
    ],
)
def test_a_file_on_the_descriptors_of_the_log_is_left_alone(
    steps: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @in_house()
    async def test(house: SupervisedWorker) -> None:
        mine = house.folder / "mine"
        mine.write_text("of the user\n")
        house.job(
            "import os\nheld = []\n"
            f"MINE = {str(mine)!r}\n"
            f"def setup(context):\n    {steps}\n"
            "def map(key, value):\n    yield value, 1\n"
        )
        for _ in range(2):
            assert isinstance(await house.result(house.give()), TaskOutput)
        assert mine.read_text() == "of the user\n"

    test(tmp_path_factory.mktemp("house"))


@in_house()
async def test_a_panic_at_import_is_told_with_its_frames(house: SupervisedWorker) -> None:
    house.job("class Panic(BaseException): pass\nraise Panic('no')\n")
    failure = await house.failure(house.give())
    assert (failure.kind, failure.died) == (FailureKind.USER, False)
    assert failure.message == "job.py cannot be imported: job.Panic: no"
    assert f'File "{house.folder}/job.py", line 2' in failure.traceback


@in_house()
async def test_a_defect_of_ours_outside_of_attempts_has_its_own_words(
    house: SupervisedWorker,
) -> None:
    breaks = "import sys\nsys.modules['mrcore.tasks.child.main'].pack_report = None\n"
    house.job(breaks + "def map(key, value):\n    return []\n")
    attempt = house.give()
    failure = await house.failure(attempt)
    assert failure.kind is FailureKind.DATA
    assert failure.message.endswith(
        "at work on input-1, was ended by a defect of mrcore: please "
        "report it with the traceback in the attempt's log"
    )
    assert "TypeError: 'NoneType' object is not callable" in house.log(attempt)


FORKED_MAP = "def map(key, value):\n    {}\n    yield value, 1\n"
FORKS = {
    "import": "if os.fork() == 0:\n    sys.exit(0)\ndef map(key, value):\n    yield value, 1\n",
    "sys.exit": FORKED_MAP.format("if os.fork() == 0: sys.exit(0)"),
    "raise": FORKED_MAP.format("if os.fork() == 0: raise ValueError('aside')"),
    "fall through": FORKED_MAP.format("os.fork()"),
}


@pytest.mark.parametrize("source", FORKS.values(), ids=FORKS)
def test_a_forked_copy_does_not_act_as_the_task(
    source: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @in_house()
    async def test(house: SupervisedWorker) -> None:
        house.job("import os, sys\n" + source)
        for text in ("a\n", "b\nc\n"):
            result = await house.result(house.give(text))
            assert isinstance(result, TaskOutput), result
            assert result.records_out == text.count("\n")

    test(tmp_path_factory.mktemp("house"))


@in_house()
async def test_a_child_outlives_the_loss_of_its_folder(house: SupervisedWorker) -> None:
    house.job("""
        import os, pathlib, shutil
        def map(key, value):
            for folder in pathlib.Path(SCRATCH).glob("child-*"):
                shutil.rmtree(folder, ignore_errors=True)
            yield os.getpid(), 1
    """.replace("SCRATCH", repr(str(house.folder / "scratch"))))  # fmt: skip
    for _ in range(2):
        assert isinstance(await house.result(house.give()), TaskOutput)


@in_house()
async def test_a_child_whose_descriptors_became_connections_of_the_user_dies(
    house: SupervisedWorker,
) -> None:
    house.job("""
        import os, socket
        held = []
        def setup(context):
            os.closerange(3, 256)
            held.extend(end for _ in range(32) for end in socket.socketpair())
        def map(key, value):
            yield value, 1
    """)
    failure = await house.failure(house.give())
    assert failure.died
    assert "user code closed descriptors that it had not opened" in failure.message


@in_house()
async def test_code_of_a_task_cannot_start_a_job(house: SupervisedWorker) -> None:
    house.job("""
        import mrcore
        def map(key, value):
            mrcore.run(__file__, inputs="x", output="y")
    """)
    failure = await house.failure(house.give())
    assert "The code of a job cannot start a job or a cluster" in failure.message
