"""Jobs that wait for others, over real daemons: chains, restarts, and first jobs that fail."""

from __future__ import annotations

from collections import Counter

import pytest

from mrcore.client.request import Draft, JobRequest, load_plugin, prepare
from mrcore.errors import OutputError, UnknownJobError
from mrcore.model.job import JobState
from mrcore.output.reading import output_lines
from mrcore.storage.registry import storage_for
from tests.support.fault_cluster import Cluster, Scene
from tests.support.waiting import wait_until

pytestmark = pytest.mark.xdist_group("jobs after")  # one cluster for all

PLUGIN = """
def map(key, value):
    if "fail" in PARAMS:
        raise ValueError("as asked")
    yield len(value.partition("\\t")[0]), 1

def reduce(key, values):
    return sum(values)

def setup(context):
    global PARAMS
    PARAMS = context.params
"""


class Chain:
    """Jobs that count the keys of an output by their length."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._path = scene.folder / "lengths.py"
        self._path.write_text(PLUGIN)
        self._plugin = load_plugin(self._draft("in", "out")).spec.plugin

    def _draft(self, given: str, output: str, **options: object) -> Draft:
        base = self.scene.base_uri
        request = JobRequest(
            plugin=str(self._path),
            inputs=(f"{base}/{given}/",),
            output=f"{base}/{output}",
            cwd=self.scene.folder,
            options={"reduces": 1, "lease": 1.0, **options},
        )
        return prepare(request, look=False)

    def submit(self, given: str, output: str, *after: str, **options: object) -> str:
        """Start a job that reads a folder once other jobs have succeeded; return its id."""
        draft = self._draft(given, output, after=after, **options)
        prepared = draft.with_plugin(self._plugin)
        return self.scene.client.submit(prepared.spec, prepared.bundle.data).job_id

    def state(self, job_id: str) -> JobState:
        return self.scene.client.get(job_id).state

    def ended(self, job_id: str) -> JobState:
        """Wait until a job has ended; return how."""
        return self.scene.wait(job_id).state

    def lines(self, output: str) -> list[str]:
        return list(output_lines(f"{self.scene.base_uri}/{output}"))

    def claimed(self, output: str) -> bool:
        uri = f"{self.scene.base_uri}/{output}/_claim"
        return any(info.uri == uri for info in storage_for(uri).list(uri))


def lengths(lines: list[str]) -> list[str]:
    """Return what a job of the chain writes, given what it reads."""
    counted = Counter(len(line.partition("\t")[0]) for line in lines)
    return [f"{length}\t{count}" for length, count in sorted(counted.items())]


def test_a_chain_of_three_goes_on_over_a_restart(cluster: Cluster, scene: Scene) -> None:
    chain = Chain(scene)
    scene.worker()
    first = scene.submit("map", out=scene.out("one"))
    second = chain.submit("one", "two", first)
    third = chain.submit("two", "three", second, first)
    scene.at_gate("map")
    shown = scene.client.get(third)
    assert (shown.state, shown.waits_for) == (JobState.WAITING, (second, first))
    assert shown.note == f"waits for {second}, {first}"
    assert chain.claimed("three"), "nobody else may write there meanwhile"
    with pytest.raises(OutputError, match=f"is taken by job {third}"):
        chain.submit("in", "three")

    cluster.restart_master()
    assert chain.state(second) is chain.state(third) is JobState.WAITING
    scene.open_gate()
    assert chain.ended(third) is JobState.SUCCEEDED
    assert chain.state(first) is chain.state(second) is JobState.SUCCEEDED
    one = [f"{word}\t{count}" for word, count in scene.expected.items()]
    assert chain.lines("two") == lengths(one)
    assert chain.lines("three") == lengths(chain.lines("two"))
    done = scene.client.get(third)
    assert (done.waits_for, done.note) == ((), "")
    assert done.input_bytes > 0
    wait_until(lambda: not chain.claimed("three"))


def test_what_waits_fails_with_the_job_before(cluster: Cluster, scene: Scene) -> None:
    chain = Chain(scene)
    cancelled = scene.submit("map", out=scene.out("one"))
    second = chain.submit("one", "two", cancelled)
    third = chain.submit("two", "three", second)
    stopped = chain.submit("one", "four", cancelled)
    assert scene.client.cancel(stopped).state is JobState.CANCELLED
    assert chain.state(second) is JobState.WAITING
    scene.client.cancel(cancelled)
    for job_id, before, how in ((second, cancelled, "was cancelled"), (third, second, "failed")):
        assert chain.ended(job_id) is JobState.FAILED
        assert f"It waits for {before}, which {how}." in scene.client.get(job_id).message
    wait_until(lambda: not chain.claimed("two") and not chain.claimed("three"))

    scene.worker()
    failed = chain.submit("in", "five", params={"fail": "yes"}, max_attempts=1)
    late = chain.submit("five", "six", failed)
    assert chain.ended(late) is JobState.FAILED
    assert f"It waits for {failed}, which failed." in scene.client.get(late).message
    with pytest.raises(UnknownJobError, match="to run after wc-1, but no job wc-1 is known"):
        chain.submit("in", "seven", "wc-1")

    first = chain.submit("in", "eight")
    unread = chain.submit("nowhere", "nine", first)
    assert chain.ended(unread) is JobState.FAILED
    assert "nowhere/ does not exist" in scene.client.get(unread).message
