"""A job of several steps whose middle stages are hurt."""

from __future__ import annotations

from mrcore.engine.inline import run_inline
from mrcore.model.job import JobState
from mrcore.storage.registry import storage_for
from tests.support.fault_cluster import FILES, Scene

STEPS = """
from mrcore import Step

def remember(context):
    global TASK
    TASK = context.task

def words(key, line):
    for word in line.split():
        yield word, 1

def total(word, counts):
    yield word, sum(counts)

def by_count(word, count):
    yield count // 4, (word, count)

def together(quarter, found):
    gate("middle")
    yield quarter, sorted(found)

def by_size(quarter, found):
    yield len(found) % 5, (quarter, found)

def longest(size, groups):
    yield size, sorted(groups)

def noting(context):
    note(context.task)

steps = [
    Step(map=words, combine=lambda word, counts: sum(counts), reduce=total, reduce_finish=noting),
    Step(map=by_count, reduce=together, reduce_finish=noting),
    Step(map=by_size, reduce=longest, reduce_finish=noting),
]
"""
STAGES = ("step1-map", "step1-reduce", "step2-reduce", "step3-reduce")


def in_one_process(scene: Scene) -> dict[str, bytes]:
    """Return the parts that one process writes, one task after the other."""
    request, _ = scene.request(out=scene.out("calm"), source=STEPS)
    assert run_inline(request, slots=1).state is JobState.SUCCEEDED
    (scene.folder / "runs").unlink()
    return scene.parts(scene.out("calm"))


def in_plain_python(scene: Scene) -> list[str]:
    """Return the lines of the output, by a program without mrcore."""
    quarters: dict[int, list[tuple[str, int]]] = {}
    for word, count in sorted(scene.expected.items()):
        quarters.setdefault(count // 4, []).append((word, count))
    sizes: dict[int, list[object]] = {}
    for quarter, found in sorted(quarters.items()):
        sizes.setdefault(len(found) % 5, []).append((quarter, found))
    return sorted(f"{size}\t{groups}" for size, groups in sizes.items())


def test_middle_stages_that_lose_a_run_a_worker_and_the_master(scene: Scene) -> None:
    calm = in_one_process(scene)
    victim, _ = scene.worker(), scene.worker()
    job_id = scene.submit("middle", source=STEPS)
    scene.at_gate("middle", 2)
    # The first three stages are at work or done; one task of the third has not begun.
    stages = scene.client.get(job_id).stages
    assert [stage.name for stage in stages] == list(STAGES)
    assert [stage.completed for stage in stages] == [FILES, 3, 0, 0]
    out = scene.out()
    runs = [info.uri for info in storage_for(out).list(f"{out}/_tmp/{job_id}/runs/")]
    lost = next(uri for uri in runs if "step1-reduce-00001@" in uri)
    assert storage_for(lost).delete(lost)
    victim.kill()
    scene.cluster.restart_master()
    scene.open_gate()
    job = scene.ends_well(job_id)
    assert scene.parts(out) == calm
    assert sorted(b"".join(calm.values()).decode().splitlines()) == in_plain_python(scene)
    scene.check_left(out)
    # The task whose run is lost ran again, and no other of its stage or of the first one.
    ran = scene.runs()
    assert ran["step1-reduce-00001"] == 2
    assert (ran["step1-reduce-00000"], ran["step1-reduce-00002"]) == (1, 1)
    # So did the one that the victim held, and nobody's code is blamed.
    assert job.attempts.won == FILES + 3 + 3 + 3 + 1
    assert job.attempts.started > job.attempts.won
    assert job.attempts.failed == 0
