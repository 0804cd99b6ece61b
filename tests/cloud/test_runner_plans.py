"""Plans of dry runs: all that a run then asks of gcloud, and nothing else."""

from __future__ import annotations

import re

import pytest

from tests.cloud.compute.sandbox import HAS_GCLOUD, NO_GCLOUD
from tests.cloud.runner_world import NAME, WORD_COUNT, ZONE, World, told

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not HAS_GCLOUD, reason=NO_GCLOUD),
]

ONCE_A_PROJECT = re.compile(r"gcloud iam (roles|service-accounts) create")
CHANGING = (
    (re.compile(r"PAYLOAD_SHA256|[0-9a-f]{64}"), "DIGEST"),
    (re.compile(r"-(spot|standard)-([0-9a-f]{8}|HASH)"), r"-\1-HASH"),
    (re.compile(r"mrcore-expires=\d+"), "mrcore-expires=THEN"),
    (re.compile(r'timestamp\("[^"]+"\)'), 'timestamp("THEN")'),
)


def same(commands: list[str]) -> set[str]:
    """Return commands without what is another at each run."""
    for pattern, name in CHANGING:
        commands = [pattern.sub(name, command) for command in commands]
    return set(commands)


def test_a_dry_run_prints_every_command_that_the_run_makes(world: World) -> None:
    (world.folder / "job.py").write_text(WORD_COUNT)
    world.put("books/1.txt", "a b a\n")
    run = ["run", "job.py", "gs://bkt/books/", "-o", "gs://bkt/out", f"--name={NAME}"]
    run += [f"--zone={ZONE}", "--connect=direct", "--workers=1", "--bucket=bkt", "-r3"]
    planned = world.gce(*run, "--dry-run")
    assert planned.code == 0, told(planned)
    assert "# tasks     1 map, 3 reduce\n" in planned.out
    assert world.sandbox.cloud.calls() == []
    log = world.sandbox.home / f".local/state/mrcore/gce/{NAME}/gcloud.log"
    before = log.stat().st_size if log.exists() else 0
    with world.machines(workers=1):
        ran = world.gce(*run)
    assert ran.code == 0, told(ran)

    lines = (line.removeprefix("# reads: ") for line in planned.out.splitlines())
    plan = same([line for line in lines if line.startswith("gcloud ")])
    told_now = log.read_text()[before:]
    said = re.findall(r"^\S+ exit \d+ after \d+ s: (gcloud .*)$", told_now, re.MULTILINE)
    made = same(said)
    assert len(made) > 25
    assert sorted(made - plan) == []
    # What only a stockout, or a slow boot, has it ask for again.
    later = {line for line in plan - made if " list-errors " in line}
    assert [line for line in plan - made - later if not ONCE_A_PROJECT.match(line)] == []


def test_a_dry_run_that_would_be_stopped_ends_as_a_preflight_would(world: World) -> None:
    (world.folder / "job.py").write_text(WORD_COUNT)
    run = ["run", "job.py", "gs://bkt/none/", "-o", "gs://bkt/out", f"--zone={ZONE}"]
    planned = world.gce(*run, "--dry-run")
    assert planned.code == 2, told(planned)
    first = planned.out.splitlines()[0]
    assert first.startswith("# this would stop it: ")
    assert "gs://bkt/none" in first
