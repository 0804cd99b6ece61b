"""Places for an output, and its owner."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from mrcore.errors import DiskFullError, OutputError
from mrcore.model import object_names
from mrcore.model.job import Input, JobSpec
from mrcore.output import claim as claims
from mrcore.output import commit
from mrcore.records.inputs import parse_input
from mrcore.storage.local.lock import FileLock
from mrcore.storage.registry import absolute_uri, without_last_slash
from tests.support import stores
from tests.support.commit_world import faulty, make_spec, old_job
from tests.support.stores import Place

ELSEWHERE = "gs://nowhere/state"


def _claim(spec: JobSpec, job_id: str, state_uri: str = ELSEWHERE, request_id: str = "") -> str:
    return commit.claim(spec, job_id, request_id or f"request-{job_id}", state_uri, "host:7077")


class TestClaiming:
    """One job at a time."""

    def test_a_claim_keeps_others_out(self, any_storage: Place) -> None:
        spec = make_spec(any_storage)
        generation = _claim(spec, "one")
        assert commit.holds_claim(spec, generation)
        with pytest.raises(OutputError, match=r"taken by job one .*host:7077.*gc .*out --release"):
            _claim(spec, "two")
        assert commit.holds_claim(spec, generation)
        held = commit.read_claim(spec.output_uri)
        assert held is not None
        assert (held.job_id, held.state_uri) == ("one", ELSEWHERE)

    def test_claiming_again_gives_the_same_claim(self, any_storage: Place) -> None:
        spec = make_spec(any_storage)
        generation = _claim(spec, "one")
        any_storage.put("out/part-00000", b"published meanwhile")
        assert _claim(spec, "one") == generation
        assert commit.holds_claim(spec, generation)

    def test_a_request_that_is_repeated_takes_its_own_claim_over(self, any_storage: Place) -> None:
        """The master died between claim and journal; the next one draws another job id."""
        spec = make_spec(any_storage)
        first = _claim(spec, "one", request_id="same")
        second = _claim(spec, "two", request_id="same")
        assert not commit.holds_claim(spec, first)
        assert commit.holds_claim(spec, second)
        with pytest.raises(OutputError, match="taken by job two"):
            _claim(spec, "three", state_uri="gs://other/state", request_id="same")

    def test_a_released_output_is_free(self, any_storage: Place) -> None:
        spec = make_spec(any_storage)
        generation = _claim(spec, "one")
        assert commit.release_claim(spec.output_uri, generation)
        assert any_storage.names() == []
        second = _claim(spec, "two")
        assert not commit.release_claim(spec.output_uri, generation)
        assert commit.holds_claim(spec, second)

    def test_force_frees_whatever_is_there(self, any_storage: Place) -> None:
        spec = make_spec(any_storage)
        assert not commit.force_release(spec.output_uri)
        any_storage.put("out/_claim", b"not even JSON")
        with pytest.raises(OutputError, match="a claim that cannot be read"):
            _claim(spec, "one")
        assert commit.read_claim(spec.output_uri) is None
        assert commit.force_release(f"{spec.output_uri}/")
        _claim(spec, "one")

    def test_a_job_known_to_have_ended_holds_nothing(self, any_storage: Place) -> None:
        spec = make_spec(any_storage)
        first = _claim(spec, "one")
        asked: list[tuple[str, str]] = []

        def has_ended(state_uri: str, job_id: str) -> bool:
            asked.append((state_uri, job_id))
            return len(asked) > 1

        for expected in (False, True):
            try:
                commit.claim(spec, "two", "r", ELSEWHERE, "h", has_ended=has_ended)
            except OutputError:
                assert not expected
            else:
                assert expected
        assert asked == [(ELSEWHERE, "one")] * 2
        assert not commit.holds_claim(spec, first)

    def test_of_two_that_find_a_free_claim_one_gets_it(self, any_storage: Place) -> None:
        spec = make_spec(any_storage)
        _claim(spec, "dead")
        quicker = iter(["quick"])

        def take(job_id: str) -> None:
            commit.claim(
                spec, job_id, job_id, ELSEWHERE, "h", has_ended=lambda _, job: job == "dead"
            )

        def overtake(operation: str, uri: str) -> None:
            for job_id in quicker if operation == "commit" else ():
                take(job_id)

        with (
            faulty(any_storage, lambda *_: None, overtake),
            pytest.raises(OutputError, match="taken by job quick"),
        ):
            take("slow")

    def test_a_dead_master_on_files_of_this_machine_holds_nothing(
        self, any_storage: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = make_spec(any_storage)
        state = f"file://{tmp_path}/state"
        with FileLock(object_names.lock_uri(state)):
            _claim(spec, "one", state)
            with pytest.raises(OutputError, match="taken by job one"):
                _claim(spec, "two")
        with monkeypatch.context() as patch:
            patch.setattr(claims, "this_host", lambda: "another")
            with pytest.raises(OutputError, match="taken by job one"):
                _claim(spec, "two")
        _claim(spec, "two")

    def test_of_many_jobs_one_gets_the_output(self, any_storage: Place) -> None:
        spec = make_spec(any_storage)
        barrier = threading.Barrier(6)

        def try_it(index: int) -> str | None:
            barrier.wait(30)
            try:
                return _claim(spec, f"job-{index}")
            except OutputError:
                return None

        with ThreadPoolExecutor(6) as pool:
            got = [generation for generation in pool.map(try_it, range(6)) if generation]
        assert len(got) == 1
        assert commit.holds_claim(spec, got[0])

    def test_a_refused_claim_leaves_nothing(self, any_storage: Place) -> None:
        any_storage.put("out/notes.txt", b"mine")
        before = any_storage.names()
        with pytest.raises(OutputError, match=r"not empty \(notes.txt is there\)"):
            _claim(make_spec(any_storage), "one")
        assert any_storage.names() == before

    def test_a_full_disk_is_told_and_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*arguments: object, **options: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        spec = make_spec(stores.file_place(tmp_path))
        with pytest.raises(DiskFullError, match="No space is left for"):
            _claim(spec, "one")
        assert not Path(object_names.shown(spec.output_uri)).exists()


class TestContents:
    """Objects that may lie in an output before a job."""

    def test_names_with_an_underscore_may(self, any_storage: Place) -> None:
        for name in ("_logs/x", "_tmp/old/runs/y", "_SUCCESS"):
            any_storage.put(f"out/{name}", b"")
        any_storage.put("out-of-the-way", b"")
        commit.check_output(make_spec(any_storage))

    @pytest.mark.parametrize("name", ["part-00000", ".hidden", "folder/x"])
    def test_anything_else_may_not(self, any_storage: Place, name: str) -> None:
        any_storage.put(f"out/{name}", b"")
        with pytest.raises(OutputError, match="not empty"):
            commit.check_output(make_spec(any_storage))
        with pytest.raises(OutputError, match="which no receipt there names"):
            commit.check_output(make_spec(any_storage, overwrite=True))

    def test_overwrite_takes_what_a_receipt_names(self, any_storage: Place) -> None:
        old_job(any_storage)
        spec = make_spec(any_storage, overwrite=True)
        with pytest.raises(OutputError, match="--overwrite"):
            commit.check_output(make_spec(any_storage))
        commit.check_output(spec)
        any_storage.put("out/part-00003", b"mine")
        with pytest.raises(OutputError, match="holds part-00003, which no receipt"):
            commit.check_output(spec)

    def test_a_receipt_of_somebody_else_names_nothing(self, any_storage: Place) -> None:
        any_storage.put("out/_SUCCESS", b"")
        any_storage.put("out/part-00000", b"mine")
        with pytest.raises(OutputError, match="holds part-00000"):
            commit.check_output(make_spec(any_storage, overwrite=True))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with some input."""
    folder = tmp_path / "home"
    (folder / "in/deep").mkdir(parents=True)
    for name in ("in/a.txt", "in/deep/b.txt", "c.txt"):
        (folder / name).write_text("x\n")
    monkeypatch.chdir(folder)
    return folder


def _spec(home: Path, output: str, *inputs: str) -> JobSpec:
    spec = make_spec(stores.memory_place())
    return msgspec.structs.replace(
        spec,
        output_uri=without_last_slash(absolute_uri(output, str(home))),
        inputs=tuple(parse_input(text, str(home)) for text in inputs),
    )


class TestPlace:
    """Places of an output."""

    @pytest.mark.parametrize("output", [".", "..", "../home", "/", "in/.."])
    def test_not_here_and_not_above(self, home: Path, output: str) -> None:
        with pytest.raises(OutputError, match=r"current folder|whole file system"):
            commit.check_output(_spec(home, output, "in"))

    def test_not_here_through_a_link(self, home: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(home)
        with pytest.raises(OutputError, match="current folder"):
            commit.check_output(_spec(home, "../link", "in"))

    def test_not_a_file(self, home: Path) -> None:
        with pytest.raises(OutputError, match="is a file"):
            commit.check_output(_spec(home, "c.txt", "in"))

    @pytest.mark.parametrize("output", ["gs://bucket", "mem:///"])
    def test_not_a_whole_store(self, home: Path, output: str) -> None:
        with pytest.raises(OutputError, match="whole"):
            commit.check_output(_spec(home, output, "in"))

    @pytest.mark.parametrize(
        ("output", "given"),
        [
            ("in/out", "in"),
            ("in/deep/out", "in"),
            ("in", "in"),
            ("in/out", "in/"),
            ("out", "."),
            ("in/out", "in/**"),
            ("in/deep/out", "in/*"),
        ],
    )
    def test_not_inside_an_input(self, home: Path, output: str, given: str) -> None:
        with pytest.raises(OutputError, match="the input"):
            commit.check_output(_spec(home, output, "c.txt", given))

    def test_not_inside_an_input_through_a_link(self, home: Path) -> None:
        (home / "link").symlink_to(home / "in")
        with pytest.raises(OutputError, match="lies inside the input in"):
            commit.check_output(_spec(home, "link/out", "in"))
        with pytest.raises(OutputError, match="lies inside the input link"):
            commit.check_output(_spec(home, "in/out", "link"))

    @pytest.mark.parametrize("given", ["out/x/a.txt", "out/x", "out/*.txt", "out/x/*"])
    def test_not_around_an_input(self, home: Path, given: str) -> None:
        with pytest.raises(OutputError, match="contains the input"):
            commit.check_output(_spec(home, "out", given))

    @pytest.mark.parametrize(
        ("output", "given"),
        [("out", "*.txt"), ("out", "in"), ("in2", "in"), ("in.out", "in/*.txt"), ("out", "in/**"),
         ("in/out", "in/*.txt"), ("in/out", "in/deep"), ("out/x/y", "in"), ("new/out", "c.txt")],
    )  # fmt: skip
    def test_anywhere_else(self, home: Path, output: str, given: str) -> None:
        commit.check_output(_spec(home, output, given))
        assert not (home / output).exists()

    @pytest.mark.parametrize("temp", ["out", "out/x", "new/../out/runs", "link/x"])
    def test_temporaries_are_not_in_the_output(self, home: Path, temp: str) -> None:
        (home / "out").mkdir()
        (home / "link").symlink_to(home / "out")
        temp_uri = absolute_uri(temp, str(home))
        spec = msgspec.structs.replace(_spec(home, "out", "c.txt"), temp_uri=temp_uri)
        with pytest.raises(OutputError, match=r"--temp .* lies in the output"):
            commit.check_output(spec)

    @pytest.mark.parametrize("temp", ["out/_tmp", "out/_mine/x", "out2", "tmp", "."])
    def test_temporaries_are_elsewhere(self, home: Path, temp: str) -> None:
        temp_uri = absolute_uri(temp, str(home))
        commit.check_output(msgspec.structs.replace(_spec(home, "out", "c.txt"), temp_uri=temp_uri))

    def test_buckets_are_compared_as_text(self) -> None:
        spec = make_spec(stores.memory_place())
        given = Input(uri="gs://b/in/", base_uri="gs://b/in/", base_given="gs://b/in/")
        inside = msgspec.structs.replace(spec, inputs=(given,), output_uri="gs://b/in/out")
        with pytest.raises(OutputError, match="lies inside the input gs://b/in/"):
            commit.check_output(inside)
