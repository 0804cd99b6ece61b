"""A task's resident memory stays within its limit, however much data passes through."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mrcore.tasks.child.environment import child_environment

pytestmark = pytest.mark.timeout(900)  # a busy machine is slow, and only a hang is a fault
LIMIT_MIB = 208
FIRMLY_MIB = 190
"""Held memory varies by some MiB from run to run, and must not come near the limit."""
ROWS = 400_000
"""Some 190 MB of columns, twice what the limit leaves for all data."""

PROGRAM = """
import json, sys
from pathlib import Path
import mrcore
from mrcore.plugin.functions import UserFunctions
from tests.support.inprocess import Job, spec_of

def peak_mib():
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) // 1024

def user_map(key, value):
    for i in range({rows} // 10):
        yield ({key}), "value %08d " % i * 30

def reduce(key, values):
    return sum(1 for _ in values)

functions = UserFunctions(map=user_map, reduce=reduce, combine={combine})
spec = spec_of(output_uri="file://" + sys.argv[1])
job = Job(["\\n".join("0123456789")], functions, 1, spec, {limit} << 20)
(part,) = job.run()
counts = sorted(int(line.split(b"\\t")[1]) for line in part.splitlines())
print(json.dumps([peak_mib(), sum(counts), counts[-1]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "combine", "hottest"),
    [
        ('"hot" if i % 10 else f"k{value}-{i}"', "None", 360_000),
        ('f"{value}-{i:07d}"', "lambda key, values: next(values)", 1),
    ],
    ids=["a key with most values", "keys that never repeat"],
)
def test_data_of_any_size_stays_within_the_limit(
    tmp_path: Path, key: str, combine: str, hottest: int
) -> None:
    program = PROGRAM.format(key=key, combine=combine, rows=ROWS, limit=LIMIT_MIB)
    peak, total, most = run_as_child(program, tmp_path)
    assert (total, most) == (ROWS, hottest)
    assert peak < FIRMLY_MIB


STEPS_PROGRAM = """
import json, sys
from pathlib import Path
from mrcore import Step
from mrcore.plugin.checks import check_functions
from tests.support.inprocess import Job, spec_of

def user_map(key, value):
    for i in range({rows} // 10):
        yield i, "value %08d " % i * {repeats}

def turned(key, values):
    for number, value in enumerate(values):
        yield (-key, number), value

def count(key, values):
    return sum(1 for _ in values)

def passed(key, value):
    yield key, value

steps = [Step(map=user_map, reduce=turned), Step(map=passed, reduce=count)]
spec = spec_of(output_uri="file://" + sys.argv[1])
functions = check_functions({{"steps": steps}}, name="job.py")
(part,) = Job(["\\n".join("0123456789")], functions, 1, spec, {limit} << 20).run()
status = Path("/proc/self/status").read_text()
peak = next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) // 1024
print(json.dumps([peak, len(part.splitlines())]))
"""


@pytest.mark.slow
def test_a_task_that_merges_runs_and_builds_one_stays_within_the_limit(tmp_path: Path) -> None:
    rows = ROWS // 3  # each three times as long, since two steps of short rows take long
    program = STEPS_PROGRAM.format(rows=rows, repeats=90, limit=LIMIT_MIB)
    peak, total = run_as_child(program, tmp_path)
    assert total == rows // 10 * 10
    assert peak < FIRMLY_MIB


def run_as_child(program: str, folder: Path) -> list[int]:
    """Run it in a process whose allocators are those of a child; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder / "out")],
        env=child_environment(os.environ, LIMIT_MIB << 20),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed: list[int] = json.loads(done.stdout)
    return printed


@pytest.mark.parametrize(("mib", "tight"), [(1023, True), (1024, False)])
def test_a_tight_slot_gets_arrow_with_an_allocator_that_gives_back(mib: int, tight: bool) -> None:
    program = "import pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=child_environment(os.environ, mib << 20),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout.strip() == "jemalloc") is tight


def test_arrow_keeps_what_it_has_freed_for_a_second_where_memory_is_ample() -> None:
    name = "MIMALLOC_PURGE_DELAY"
    assert name not in child_environment({}, 1023 << 20)
    assert child_environment({}, 1 << 30)[name] == "1000"
    assert child_environment({name: "5"}, 1 << 30)[name] == "5"


LARGE_PROGRAM = """
import json, random, sys
from pathlib import Path
from mrcore.plugin.functions import UserFunctions
from tests.support.inprocess import Job, spec_of

def user_map(key, value):
    draw = random.Random(int(value))
    for i in range(12):
        yield f"k{i % 5}", wrap(draw.randbytes(6_000_000))

def wrap(value):
    return __WRAP__

def reduce(key, values):
    return sum(len(bytes(value)) for value in values)

spec = spec_of(output_uri="file://" + sys.argv[1])
job = Job(["\\n".join("012")], UserFunctions(map=user_map, reduce=reduce), 1, spec, 208 << 20)
(part,) = job.run()
status = Path("/proc/self/status").read_text()
peak = next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) // 1024
print(json.dumps([peak, sum(int(line.split(b"\\t")[1]) for line in part.splitlines())]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("wrap", ["value", "bytearray(value)"], ids=["native", "pickled"])
def test_values_of_megabytes_stay_within_the_limit(tmp_path: Path, wrap: str) -> None:
    peak, total = run_as_child(LARGE_PROGRAM.replace("__WRAP__", wrap), tmp_path)
    assert total == 36 * 6_000_000
    assert peak < FIRMLY_MIB
