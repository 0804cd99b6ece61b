"""`mrcore gce run`, with the real gcloud and real daemons: a result, and nothing else, is left."""

from __future__ import annotations

import json
import shlex
import signal
from collections import Counter

import pytest

from tests.cloud.compute.sandbox import HAS_GCLOUD, NO_GCLOUD
from tests.cloud.runner_world import NAME, WORD_COUNT, World, told, wait_until

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not HAS_GCLOUD, reason=NO_GCLOUD),
]

BOOKS = ["the cat\nthe dog\n", "the end\n"]


def run(world: World, plugin: str, *words: str) -> list[str]:
    """Write plugin and inputs; return the words of a run."""
    (world.folder / "job.py").write_text(plugin)
    for number, text in enumerate(BOOKS):
        world.put(f"books/{number}.txt", text)
    return [
        *("run", "job.py", "gs://bkt/books/", "-o", "gs://bkt/out", f"--name={NAME}"),
        *("--zone=us-central1-a", "--connect=direct", "--workers=2", *world.accounts(), *words),
    ]


def counted(world: World) -> dict[str, int]:
    parts = [name for name in world.objects() if name.startswith("out/part-")]
    lines = "".join(world.read(name).decode() for name in parts).splitlines()
    return {word: int(count) for word, count in (line.split("\t") for line in lines)}


def test_a_job_leaves_its_output_and_nothing_else(world: World) -> None:
    words = run(world, WORD_COUNT, "-r", "2", "--receipt=receipt.json")
    with world.machines(workers=2):
        ran = world.gce(*words)
        assert ran.code == 0, told(ran)
    assert counted(world) == dict(Counter("".join(BOOKS).split()))
    assert sorted(world.objects()) == [
        *("books/0.txt", "books/1.txt", "out/_SUCCESS", "out/part-00000", "out/part-00001")
    ]
    receipt = json.loads((world.folder / "receipt.json").read_text())
    assert [part["name"] for part in receipt["parts"]] == ["part-00000", "part-00001"]
    assert world.sandbox.cloud.made() == []
    assert "2 parts in gs://bkt/out" in ran.err


def test_a_job_that_fails_leaves_its_logs_here_and_nothing_there(world: World) -> None:
    words = run(world, "def map(key, value):\n    print('seen')\n    raise ValueError('no')\n")
    with world.machines(workers=1):
        ran = world.gce(*words, "--max-attempts=1")
    assert ran.code == 1, told(ran)
    assert "ValueError: no" in ran.err
    assert world.sandbox.cloud.made() == []
    assert sorted(world.objects()) == ["books/0.txt", "books/1.txt"]
    saved = list((world.sandbox.home / f".local/state/mrcore/gce/{NAME}/logs").rglob("*.log"))
    assert any("seen" in path.read_text() for path in saved)


def test_ctrl_c_cancels_the_job_and_removes_the_cluster(world: World) -> None:
    words = run(world, "import time\ndef map(key, value):\n    time.sleep(600)\n")
    with world.machines(workers=1):
        running = world.start(*words)
        wait_until(lambda: "out/_claim" in world.objects(), "the job starts")
        running.signal(signal.SIGINT)
        ran = running.end()
    assert ran.code == 130, told(ran)
    assert "cancel" in ran.err, told(ran)
    assert world.sandbox.cloud.made() == []
    assert sorted(world.objects()) == ["books/0.txt", "books/1.txt"]


@pytest.mark.proof
def test_a_second_ctrl_c_says_what_is_left_and_how_it_goes(world: World) -> None:
    words = run(world, WORD_COUNT)
    running = world.start(*words)
    wait_until(lambda: world.made("instances"), "a VM is made")
    running.signal(signal.SIGINT)
    wait_until(lambda: "removing the cluster" in running.said(), "the cleaning up begins")
    running.signal(signal.SIGINT)
    ran = running.end()
    assert ran.code == 130, told(ran)
    command = ran.err.splitlines()[-1].rpartition("mrcore gce ")[2]
    assert command.startswith("down ")
    again = world.gce(*shlex.split(command))
    assert again.code == 0, told(again)
