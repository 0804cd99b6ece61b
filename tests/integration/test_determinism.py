"""The bytes of an output depend on the input and on the number of parts, and on nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from mrcore.engine.api import run
from mrcore.engine.embedded import EmbeddedCluster
from mrcore.output.receipt import verify
from tests.support.run_support import Place, words
from tests.support.waiting import wait_until

PLACES = """
    from hashlib import sha256

    def map(key, line):
        file, offset = key
        for number, word in enumerate(line.split()):
            yield word, (file, offset, number)

    def reduce(word, places):
        return sha256(repr(list(places)).encode()).hexdigest()
"""

SORTED = """
    def map(key, line):
        for word in line.split():
            yield word, (len(line) * 31 + key[1]) % 50

    def sort_key(number):
        return -number

    def reduce(word, numbers):
        yield word, " ".join(map_text(numbers))

    def map_text(numbers):
        return [str(number) for number in numbers]
"""

COUNT = """
    def map(key, line):
        for word in line.split():
            yield word, 1

    def reduce(word, counts):
        return sum(counts)

    combine = reduce
"""

JUST_SORT = """
    def map(key, line):
        for word in line.split():
            yield word, None
"""

STEPS = """
    from hashlib import sha256

    import mrcore
    from mrcore import Step

    def words(key, line):
        for word in line.split():
            yield word, 1

    def by_digest(word, count):
        key = (len(word), sha256(word.encode()).digest()[0] % 40 - 20, None, word[:1].encode())
        yield key, {"word": word, "count": count}

    def joined(key, found):
        yield key, [one["word"] for one in found]
        yield float(key[1]), key[0]

    def typed(key, value):
        yield f"{type(key).__name__} {type(value).__name__}", (repr(key), repr(value))

    steps = [
        Step(map=words, combine=mrcore.sum, reduce=mrcore.sum),
        Step(map=by_digest, reduce=lambda key, found: list(found)),
        Step(map=joined),
        Step(map=typed, sort_key=lambda pair: pair[0], reduce=lambda key, pairs: str(list(pairs))),
    ]
"""


def write_inputs(place: Place) -> None:
    """Write files small and large, so that each number of slots has its own splits."""
    lines = list(words(6_000))
    start = 0
    for number, count in enumerate([5, 700, 3, 1_500, 50, 20, 2_000, 900, 1, 400]):
        text = "".join(f"{line}\n" for line in lines[start : start + count])
        place.write(f"in/{number}.txt", text)
        start += count


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, str]]:
    """Clusters that are up, as their states by the number of workers: each start costs seconds."""
    home = tmp_path_factory.mktemp("clusters")
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("XDG_STATE_HOME", str(home))
        found = {}
        for workers in (1, 4):
            cluster = stack.enter_context(EmbeddedCluster(workers=workers, cwd=home))
            cluster.credentials()
            found[workers] = cluster.folder.state_uri
        yield found


def outputs_of(
    place: Place,
    clusters: dict[int, str],
    plugin: str,
    workers: Sequence[int],
    **options: Any,
) -> list[dict[str, bytes]]:
    """Run a job in this process and on these clusters; return the parts of each output."""
    write_inputs(place)
    job = place.write("job.py", plugin)
    run(job, inputs=place.work / "in", output=place.work / "here", engine="inline", **options)
    for number, count in enumerate(workers):
        output = place.work / f"out{number}"
        run(job, inputs=place.work / "in", output=output, state=clusters[count], **options)
        assert verify(output.as_uri()).ok
    return [place.parts(f"out{number}") for number in range(len(workers))] + [place.parts("here")]


@pytest.mark.xdist_group("determinism")
@pytest.mark.parametrize(
    ("plugin", "workers", "options"),
    [
        (PLACES, [1, 4, 4], {"reduces": 1}),
        (PLACES, [4], {"reduces": 3, "output_format": "jsonl", "compress": "gz"}),
        (COUNT, [4], {"reduces": 16, "output_format": "csv", "compress": "bz2"}),
        (COUNT, [4], {"reduces": 3, "output_format": "parquet", "compress": "zst"}),
        (SORTED, [1, 4], {"reduces": 3, "compress": "zst"}),
        (COUNT, [1, 4], {"reduces": 3, "total_order": True, "output_format": "parquet"}),
        (JUST_SORT, [4], {"reduces": 5, "total_order": True}),
    ],
    ids=["text", "jsonl.gz", "csv.bz2", "parquet.zst", "sorted.zst", "total parquet", "total"],
)
def test_workers_do_not_show(
    place: Place,
    clusters: dict[int, str],
    plugin: str,
    workers: list[int],
    options: dict[str, Any],
) -> None:
    """Formats vary on one cluster, and workers over the ways that rows take to their part."""
    outputs = outputs_of(place, clusters, plugin, workers, **options)
    assert len(outputs[0]) == options["reduces"]
    assert sum(map(len, outputs[0].values())) > 1_000
    assert outputs[1:] == outputs[:1] * len(workers)


@pytest.mark.xdist_group("determinism")
@pytest.mark.parametrize("options", [{"reduces": 3}, {"reduces": 2, "total_order": True}])
def test_workers_and_engines_do_not_show_in_a_job_of_steps(
    place: Place, clusters: dict[int, str], options: dict[str, Any]
) -> None:
    outputs = outputs_of(place, clusters, STEPS, [1, 4], **options)
    assert len(outputs[0]) == options["reduces"]
    assert sum(map(len, outputs[0].values())) > 2_000
    assert outputs[1:] == outputs[:1] * 2


SLOW_COUNT = """
    import time

    def map(key, line):
        time.sleep(0.0005)
        for word in line.split():
            yield word, f"{key[0]}:{key[1]}"

    def reduce(word, places):
        time.sleep(0.0005)
        return " ".join(places)
"""


def test_a_killed_worker_does_not_show(place: Place) -> None:
    write_inputs(place)
    place.write("job.py", SLOW_COUNT)
    place.done("run", "job.py", "in", "-o", "calm", "-r", "4", "--engine", "inline")
    started = place.start("run", "job.py", "in", "-o", "out", "-r", "4", "-w", "2")

    def workers_at_work() -> list[int]:
        written = list((place.work / "out" / "_tmp").glob("*/runs/*"))
        found = [pid for pid, command in place.processes().items() if "-m mrcore.worker" in command]
        return found if written and len(found) == 2 else []

    os.kill(wait_until(workers_at_work)[0], signal.SIGKILL)
    _, stderr = started.communicate(timeout=90)
    assert started.returncode == 0, stderr
    place.done("verify", "out")
    assert place.parts("out") == place.parts("calm")
