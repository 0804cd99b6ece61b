"""Calls of programs that are loaded already are those of the plain ones."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.compute.sandbox import HAS_GCLOUD, NO_GCLOUD, Ground, Sandbox, sandbox
from tests.cloud.runner_world import NAME, ZONE, World

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not HAS_GCLOUD, reason=NO_GCLOUD),
]


@pytest.fixture
def box(shared_ground: Ground) -> Iterator[Sandbox]:
    with sandbox(shared_ground) as box:
        yield box


def test_it_says_and_ends_as_the_plain_one_does(box: Sandbox) -> None:
    commands = [
        ["config", "list", "--format=json"],
        ["compute", "instances", "describe", "none", "--zone=us-central1-a"],
        ["compute", "no-such-command"],
    ]
    for words in commands:
        plain = box.run(["gcloud", *words], dict.fromkeys(box.loaded, ""))
        assert box.gcloud(*words) == plain


def test_the_runner_says_and_ends_as_the_plain_one_does(world: World) -> None:
    commands = [
        ("status", f"--name={NAME}"),
        ("down", "--no-such-option"),
        ("audit", "--json"),
        ("up", f"--name={NAME}", "--bucket=bkt", f"--zone={ZONE}", "--dry-run", "--workers=0"),
    ]
    for words in commands:
        assert world.gce(*words) == world.start(*words).end(), words


def test_a_call_has_the_folder_the_environment_and_the_input_of_its_own(
    box: Sandbox, tmp_path: Path
) -> None:
    project = ["gcloud", "config", "get", "project"]
    assert box.run(project, {"CLOUDSDK_CORE_PROJECT": "other"}).out == "other\n"
    box.storage.store.create_bucket("bkt", {})
    (tmp_path / "here").write_text("a file\n")
    for script in ("gcloud storage cp here gs://bkt/file", "gcloud storage cp - gs://bkt/pipe"):
        ran = box.run(["bash", "-c", f"cd {tmp_path} && echo a pipe | {script}"])
        assert ran.code == 0, ran.err
    assert box.storage.store.get("bkt", "file").content == b"a file\n"
    assert box.storage.store.get("bkt", "pipe").content == b"a pipe\n"


def test_a_call_that_is_killed_goes_on_with_nothing(box: Sandbox) -> None:
    box.cloud.control("delay", operation_seconds=600.0)
    create = ["gcloud", "compute", "instances", "create", "m", "--zone=us-central1-a"]
    process = box.namespace.started(create, env=box.environment(), stdout=subprocess.PIPE)
    with process:
        box.cloud.until(lambda: box.cloud.calls("compute.zoneOperations.wait") or None)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout
        # It had the other end open.
        assert process.stdout.read() == b""
