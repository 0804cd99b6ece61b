"""A commit that was killed in its midst: the names in `_commit` say what may be replaced."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mrcore.cli.main import run_command_line
from mrcore.errors import OutputError, UsageError
from mrcore.model import object_names
from mrcore.output import commit
from mrcore.output.receipt import is_torn, read_commit
from mrcore.storage.faulty import FaultKind, Plan
from tests.support import stores
from tests.support.commit_world import (
    CommittedJob,
    Crash,
    faulty,
    make_spec,
    new_job,
    old_job,
    snapshot,
)
from tests.support.stores import Place


def at(operation: str, name: str) -> Plan:
    """Return a plan that kills whoever does this to an object of the output."""

    def plan(asked: str, uri: str, number: int) -> FaultKind | None:
        found = asked == operation and uri.endswith(f"/out/{name}")
        return FaultKind.BEFORE if found else None

    return plan


def tear(place: Place) -> CommittedJob:
    """Return a job that was killed when one of its two parts had replaced one of three old ones."""
    old_job(place)
    job = new_job(place, bad=False)
    with faulty(place, at("publish", "part-00001")), pytest.raises(Crash):
        job.run()
    return job


def test_a_torn_output_says_so(any_storage: Place) -> None:
    job = tear(any_storage)
    assert is_torn(any_storage.uri("out"), "new")
    assert not is_torn(any_storage.uri("out"), "old")
    with pytest.raises(UsageError, match="job new has published only a part"):
        commit.verify(any_storage.uri("out"))
    plain = make_spec(any_storage)
    with pytest.raises(OutputError, match=r"job new had published .* or add --overwrite"):
        commit.check_output(plain)
    # Where the state is gone, or never had a journal, nobody can finish.
    on_files = any_storage.base_uri.startswith("file://")
    with pytest.raises(OutputError) as caught:
        commit.check_output(plain)
    assert ("own command again" in str(caught.value)) is not on_files
    job.run()
    assert snapshot(any_storage) == job.expected()
    assert not is_torn(any_storage.uri("out"), "new")


def test_overwriting_a_torn_output_replaces_old_and_new_parts(any_storage: Place) -> None:
    tear(any_storage)
    commit.force_release(any_storage.uri("out"))
    third = CommittedJob(any_storage, "third", 1, make_spec(any_storage, overwrite=True)).begin()
    third.run()
    left = {name for name in any_storage.names() if not name.startswith("out/_tmp/new/")}
    assert left == set(third.expected())


def test_overwriting_a_torn_output_spares_what_nobody_has_listed(any_storage: Place) -> None:
    tear(any_storage)
    any_storage.put("out/part-00007", b"mine")
    commit.force_release(any_storage.uri("out"))
    with pytest.raises(OutputError, match="part-00007, which no receipt"):
        CommittedJob(any_storage, "third", 1, make_spec(any_storage, overwrite=True)).begin()


def test_the_list_names_what_is_published_and_what_is_replaced(any_storage: Place) -> None:
    tear(any_storage)
    begun = read_commit(any_storage.uri("out"))
    assert begun is not None
    assert begun.names == ("part-00000", "part-00001", "part-00002")


def test_no_name_is_changed_before_the_list_is_there(any_storage: Place) -> None:
    old = old_job(any_storage)
    job = new_job(any_storage, bad=False)
    with faulty(any_storage, at("publish", object_names.COMMIT)), pytest.raises(Crash):
        job.run()
    for name, content in old.expected().items():
        assert any_storage.get(name) == content


def test_the_list_is_gone_once_the_receipt_is_there(any_storage: Place) -> None:
    job = new_job(any_storage, bad=False)
    job.plan = job.prepare()
    job.publish()  # and no clean-up, which may be long in coming
    assert any_storage.get("out/_SUCCESS") is not None
    assert read_commit(any_storage.uri("out")) is None


def test_the_receipt_appears_when_the_old_parts_are_gone(any_storage: Place) -> None:
    old_job(any_storage)
    job = new_job(any_storage, bad=False)
    with faulty(any_storage, at("publish", object_names.SUCCESS)), pytest.raises(Crash):
        job.run()
    names = {name for name in any_storage.names() if name.startswith("out/part-")}
    assert names == {"out/part-00000", "out/part-00001"}


def test_an_error_stops_what_has_not_begun() -> None:
    begun: list[int] = []
    failed = threading.Event()

    def act(number: int) -> None:
        begun.append(number)
        if number == 0:
            failed.set()
            raise UsageError("this one")
        assert failed.wait(20)

    with pytest.raises(UsageError):
        commit._in_parallel(act, range(1_000), 4)
    assert len(begun) < 1_000


def test_a_temporary_that_was_replaced_meanwhile_is_left_alone(any_storage: Place) -> None:
    job = CommittedJob(any_storage, "j", 1, make_spec(any_storage)).begin()
    (name,) = [name for name in any_storage.names() if "/staged/" in name]

    def replace_it(operation: str, uri: str) -> None:
        if operation == "delete" and uri.endswith(name):
            any_storage.put(name, b"of a later attempt")

    with faulty(any_storage, lambda *_: None, replace_it):
        commit.clean_up(job.spec, "j", True)
    assert any_storage.get(name) == b"of a later attempt"


def test_gc_keeps_what_can_be_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = stores.file_place(tmp_path)
    with stores.registered(place):
        # A job's id has a form that gc knows.
        job = CommittedJob(place, "wc-20260101-000000-abcdef", 2, make_spec(place)).begin()
        with faulty(place, at("publish", "part-00001")), pytest.raises(Crash):
            job.run()
        journal = Path(place.uri("state/journal").removeprefix("file://"))
        journal.mkdir(parents=True)
        before = snapshot(place)
        out = place.uri("out").removeprefix("file://")
        assert run_command_line(["gc", out, "--older-than", "0s"]) == 0
        assert "run its command again to finish it" in capsys.readouterr().out
        assert snapshot(place) == before
        assert run_command_line(["gc", out, "--older-than", "0s", "--release"]) == 0
        assert "freed" in capsys.readouterr().out
        assert not [name for name in place.names() if "_tmp" in name or "_claim" in name]
        assert place.get("out/part-00000") == job.content(0)
