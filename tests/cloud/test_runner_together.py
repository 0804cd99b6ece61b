"""Two runs that were given one cluster: neither takes it away from the other."""

from __future__ import annotations

import pytest

from tests.cloud.compute.sandbox import HAS_GCLOUD, NO_GCLOUD
from tests.cloud.runner_world import NAME, WORD_COUNT, ZONE, World, told, wait_until

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not HAS_GCLOUD, reason=NO_GCLOUD),
]


def test_a_cluster_stays_while_another_run_works_there(world: World) -> None:
    slow = f"import time\n{WORD_COUNT}".replace("    for", "    time.sleep(600)\n    for", 1)
    (world.folder / "slow.py").write_text(slow)
    (world.folder / "job.py").write_text(WORD_COUNT)
    world.put("books/1.txt", "a b a\n")
    rest = [f"--name={NAME}", f"--zone={ZONE}", "--connect=direct", "--workers=2"]
    rest += ["--bucket=bkt", *world.accounts()]
    with world.machines(workers=2):
        first = world.start("run", "slow.py", "gs://bkt/books/", "-o", "gs://bkt/slow", *rest)
        wait_until(lambda: "slow/_claim" in world.objects(), "the first job runs")
        second = world.gce("run", "job.py", "gs://bkt/books/", "-o", "gs://bkt/out", *rest)
        assert second.code == 0, told(second)
        assert f"the cluster {NAME} stays up, since it runs another job, slow-" in second.err
        assert f"mrcore-{NAME}-master" in world.made("instances")
        first.process.terminate()
        ended = first.end()
    assert ended.code == 130, told(ended)
    assert f"nothing is left of the cluster {NAME}" in ended.err
    assert world.read("out/part-00000") == b"a\t2\nb\t1\n"
