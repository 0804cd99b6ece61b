"""A real master and a worker that the test drives: from Submit to the receipt."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mrcore import errors
from mrcore.model import object_names
from mrcore.model.partial_log import encode_partial
from mrcore.model.task import RunInput, Split, TaskOutput
from mrcore.rpc.roles import Role
from mrcore.rpc.v1 import job_pb2, job_service_pb2
from mrcore.storage.registry import storage_for
from tests.support.daemons import Daemon
from tests.support.fake_worker import CALL_SECONDS, FakeClient, FakeWorker, make_spec
from tests.support.master_site import BUNDLE, SHA256, MasterSite, refused


@pytest.fixture
def house(tmp_path: Path) -> MasterSite:
    return MasterSite(tmp_path)


@pytest.fixture
def master(house: MasterSite) -> Iterator[Daemon]:
    with house.master() as daemon:
        yield daemon


@pytest.fixture
def client(house: MasterSite, master: Daemon) -> Iterator[FakeClient]:
    with FakeClient(house.credentials()) as found:
        yield found


def test_a_map_only_job_runs_from_submit_to_receipt(house: MasterSite, client: FakeClient) -> None:
    job = client.submit(house.spec(map_only=True), BUNDLE)
    assert job.state == job_pb2.JOB_STATE_RUNNING
    with FakeWorker(house.credentials(Role.WORKER)) as worker:
        worker.join()
        assert {one.task.index for one in worker.work} == {0, 1}
        worker.work_off()
    done = client.wait(job.job_id)
    assert done.state == job_pb2.JOB_STATE_SUCCEEDED, done.message
    assert dict(done.counters) == {"seen": 4}
    assert (house.out / "part-00000").read_text() == f"{job.job_id}/stage0-00000\n"
    receipt = json.loads((house.out / "_SUCCESS").read_text())
    assert receipt["job_id"] == job.job_id
    assert [part["name"] for part in receipt["parts"]] == ["part-00000", "part-00001"]
    assert receipt["counters"] == {"seen": 4}


def test_a_reduce_gets_the_runs_of_all_maps(
    house: MasterSite, master: Daemon, client: FakeClient
) -> None:
    job = client.submit(house.spec(reduces=2), BUNDLE)
    with FakeWorker(house.credentials(Role.WORKER)) as worker:
        worker.join()
        maps = list(worker.work)
        assert {attempt.task.stage for attempt in maps} == {0}
        for attempt in maps:
            work = worker.work[attempt]
            assert isinstance(work.read, Split)
            assert work.partitions == 2
            worker.finish(attempt)
        runs = [worker.output_uri(attempt) for attempt in sorted(maps)]
        worker.synchronize()
        reduces = {attempt.task.index: work for attempt, work in worker.work.items()}
        assert set(reduces) == {0, 1}
        for index, reduce in reduces.items():
            assert isinstance(reduce.read, RunInput)
            # One byte a partition: section `index` of each run, in the order of the maps.
            assert [(one.index, one.offset, one.length_bytes) for one in reduce.read.slices] == [
                (0, index, 1),
                (1, index, 1),
            ]
            assert [one.uri for one in reduce.read.slices] == runs
        worker.work_off()
    assert client.wait(job.job_id).state == job_pb2.JOB_STATE_SUCCEEDED
    assert (house.out / "part-00001").read_text() == f"{job.job_id}/stage1-00001\n"
    assert master.stop() == 0  # which waits for what is still to be cleaned up
    assert not (house.out / "_tmp").exists()
    assert not (house.out / "_claim").exists()


def test_a_submission_that_is_repeated_is_the_same_job(
    house: MasterSite, client: FakeClient
) -> None:
    first = client.submit(house.spec(map_only=True), BUNDLE, "one")
    assert client.submit(house.spec(map_only=True), BUNDLE, "one").job_id == first.job_id
    with refused(errors.OutputError, "is taken by job"):
        client.submit(house.spec(map_only=True), BUNDLE, "two")


def test_submissions_at_the_same_time_are_one_job(house: MasterSite, client: FakeClient) -> None:
    ids: list[str] = []

    def submit() -> None:
        ids.append(client.submit(house.spec(map_only=True), BUNDLE, "one").job_id)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1


def test_what_cannot_work_is_refused_and_leaves_nothing(
    house: MasterSite, client: FakeClient
) -> None:
    with refused(errors.UsageError, "Send its bundle"):
        client.submit(house.spec(), b"")
    with refused(errors.InputError, "does not exist"):
        client.submit(
            make_spec(f"file://{house.folder}/missing", f"file://{house.out}", SHA256), BUNDLE
        )
    with refused(errors.UsageError, "SHA-256"):
        client.submit(house.spec(), b"another bundle")
    with refused(errors.UsageError, "scheme"):
        client.submit(house.spec(temp_uri="ftp://host/x"), BUNDLE)
    for places, words in (
        ({"output_uri": "file://host/x"}, "an absolute path"),
        ({"temp_uri": "gs:///x"}, "Write gs://BUCKET/FOLDER"),
        ({"output_uri": "mem://x/y"}, "in the memory of one process"),
        ({"output_uri": "file:///dev/null/x"}, "cannot be a folder"),
    ):
        with refused(errors.UsageError, words):
            client.submit(msgspec.structs.replace(house.spec(), **places), BUNDLE)
    for place in ("output_uri", "temp_uri"):
        for uri in (house.state_uri, f"{house.state_uri}/journal/x"):
            with refused(errors.OutputError, "inside the state of the cluster"):
                client.submit(msgspec.structs.replace(house.spec(), **{place: uri}), BUNDLE)
    with refused(errors.UsageError, "request_id"):
        client.submit(house.spec(), BUNDLE, "")
    assert not house.out.exists()
    house.out.mkdir()
    (house.out / "mine").write_text("x")
    with refused(errors.OutputError, "not empty"):
        client.submit(house.spec(), BUNDLE)
    assert [path.name for path in house.out.iterdir()] == ["mine"]


def test_a_task_that_always_fails_ends_its_job(house: MasterSite, client: FakeClient) -> None:
    job = client.submit(house.spec(map_only=True, max_attempts=2), BUNDLE)
    with FakeWorker(house.credentials(Role.WORKER)) as worker:
        worker.join()
        while worker.work:
            for attempt in worker.work:
                if attempt.task.index == 0:
                    worker.fail(attempt, "wc.py raised ValueError at in/a, offset 0")
            worker.synchronize(park=True)
    failed = client.wait(job.job_id)
    assert failed.state == job_pb2.JOB_STATE_FAILED
    assert "ValueError" in failed.failure.message
    assert failed.failure.traceback == "Traceback: wc.py line 3"
    assert not list(house.out.glob("part-*"))


def test_a_job_can_be_cancelled_once(house: MasterSite, client: FakeClient) -> None:
    job = client.submit(house.spec(map_only=True), BUNDLE)
    request = job_service_pb2.CancelRequest(job_id=job.job_id, reason="enough")
    with FakeWorker(house.credentials(Role.WORKER)) as worker:
        worker.join()
        assert worker.work
        stopped = client.stub.Cancel(request, timeout=CALL_SECONDS).job
        assert stopped.state == job_pb2.JOB_STATE_CANCELLED
        worker.synchronize()
        assert not worker.work
    assert client.stub.Cancel(request, timeout=CALL_SECONDS).job.message == stopped.message
    with refused(errors.UnknownJobError, "no-such-job"):
        client.stub.Cancel(job_service_pb2.CancelRequest(job_id="no-such-job"))


def test_what_has_succeeded_cannot_be_cancelled(house: MasterSite, client: FakeClient) -> None:
    job = client.submit(house.spec(map_only=True), BUNDLE)
    with FakeWorker(house.credentials(Role.WORKER)) as worker:
        worker.join()
        worker.work_off()
    client.wait(job.job_id)
    with refused(errors.JobEndedError, "has ended"):
        client.stub.Cancel(job_service_pb2.CancelRequest(job_id=job.job_id))


def test_lists_come_in_pages(house: MasterSite, client: FakeClient) -> None:
    ids = [
        client.submit(
            make_spec(f"file://{house.folder}/in/", f"file://{house.out}{n}", SHA256),
            BUNDLE,
            f"{n}",
        ).job_id
        for n in range(3)
    ]
    page = client.stub.List(job_service_pb2.ListRequest(page_size=2))
    assert [job.job_id for job in page.jobs] == [ids[2], ids[1]]
    rest = client.stub.List(
        job_service_pb2.ListRequest(page_size=2, page_token=page.next_page_token)
    )
    assert [job.job_id for job in rest.jobs] == [ids[0]]
    assert not rest.next_page_token
    tasks = client.stub.ListTasks(job_service_pb2.ListTasksRequest(job_id=ids[0], page_size=1))
    assert [(task.stage, task.index) for task in tasks.tasks] == [("map", 0)]
    request = job_service_pb2.ListTasksRequest(job_id=ids[0], page_token=tasks.next_page_token)
    tasks = client.stub.ListTasks(request)
    assert [(task.stage, task.index) for task in tasks.tasks] == [
        ("map", 1),
        ("reduce", 0),
    ]
    with refused(errors.UsageError, "page_token"):
        client.stub.ListTasks(job_service_pb2.ListTasksRequest(job_id=ids[0], page_token="x"))


def test_workers_are_listed_and_drained(house: MasterSite, client: FakeClient) -> None:
    with FakeWorker(house.credentials(Role.WORKER)) as worker:
        worker.join()
        listed = client.stub.ListWorkers(job_service_pb2.ListWorkersRequest()).workers
        assert [(one.worker_id, one.slots, one.draining) for one in listed] == [("w1", 4, False)]
        drain = job_service_pb2.DrainWorkerRequest(worker_id="w1")
        assert client.stub.DrainWorker(drain, timeout=CALL_SECONDS).worker.draining
        answer = worker.synchronize()
        assert answer.drain
        assert answer.leave
    with refused(errors.UnknownWorkerError, "w2"):
        client.stub.DrainWorker(job_service_pb2.DrainWorkerRequest(worker_id="w2"))


def test_logs_are_read_from_their_end(house: MasterSite, client: FakeClient) -> None:
    spec = house.spec(map_only=True)
    job = client.submit(spec, BUNDLE)
    with FakeWorker(house.credentials(Role.WORKER)) as worker:
        worker.join()
        attempts = sorted(worker.work)
    for attempt in attempts:
        uri = object_names.log_uri(house.state_uri, spec, attempt)
        with storage_for(uri).open_write(uri) as writer:
            writer.write(f"{attempt.task.index}: printed".encode())
            writer.commit()
    request = job_service_pb2.ReadLogRequest(job_id=job.job_id, tail_bytes=4)
    logs = client.stub.ReadLog(request).logs
    assert [(log.text, log.size_bytes) for log in logs] == [(b"nted", 10), (b"nted", 10)]
    one = job_service_pb2.ReadLogRequest(job_id=job.job_id, stage="map", index=1)
    (log,) = client.stub.ReadLog(one).logs
    assert log.text == b"1: printed"
    assert log.attempt == f"map-00001@{attempts[1].number}"
    one.index = 7
    with refused(errors.NotFoundError, "map-00007"):
        client.stub.ReadLog(one)
    one.stage = "reduce"
    with refused(errors.UsageError, "no stage 'reduce'"):
        client.stub.ReadLog(one)
    one.stage = "map"
    one.attempt = "../x"
    with refused(errors.UsageError, "5.2"):
        client.stub.ReadLog(one)


def test_the_log_of_a_running_attempt_counts_until_it_has_ended(
    house: MasterSite, client: FakeClient
) -> None:
    spec = house.spec(map_only=True)
    job = client.submit(spec, BUNDLE)
    with FakeWorker(house.credentials(Role.WORKER)) as worker:
        worker.join()
        first, second = sorted(worker.work)
    partial = object_names.partial_log_uri(house.state_uri, spec, first)
    whole = object_names.log_uri(house.state_uri, spec, first)
    other = object_names.log_uri(house.state_uri, spec, second)
    for uri, content in ((partial, encode_partial(b"so far", 1_006)), (other, b"other")):
        with storage_for(uri).open_write(uri) as writer:
            writer.write(content)
            writer.commit()
    request = job_service_pb2.ReadLogRequest(job_id=job.job_id, tail_bytes=3)
    logs = client.stub.ReadLog(request).logs
    assert [(log.text, log.size_bytes) for log in logs] == [(b"far", 1_006), (b"her", 5)]
    assert logs[0].attempt == f"map-00000@{first.number}"
    with storage_for(whole).open_write(whole) as writer:
        writer.write(b"all")
        writer.commit()
    logs = client.stub.ReadLog(request).logs
    assert [(log.text, log.size_bytes) for log in logs] == [(b"all", 3), (b"her", 5)]


def test_nonsense_that_a_worker_reports_harms_its_own_job_alone(
    house: MasterSite, master: Daemon, client: FakeClient
) -> None:
    hurt = client.submit(house.spec(reduces=2), BUNDLE)
    out = f"file://{house.folder}/other"
    other = client.submit(
        make_spec(f"file://{house.folder}/in/a", out, SHA256, map_only=True), BUNDLE, "other"
    )
    with FakeWorker(house.credentials(Role.WORKER)) as worker:
        worker.join()
        for attempt in worker.work:
            worker.finish(attempt)
            result = worker.results[attempt]
            assert isinstance(result, TaskOutput)
            nonsense = {"section_bytes": (1,), "elapsed_seconds": float("nan")}
            if attempt.task.job_id == hurt.job_id:
                worker.results[attempt] = msgspec.structs.replace(result, **nonsense)
        worker.work_off()
    failed = client.wait(hurt.job_id)
    assert failed.state == job_pb2.JOB_STATE_FAILED
    assert "The master could not give out the job's tasks" in failed.message
    assert client.wait(other.job_id).state == job_pb2.JOB_STATE_SUCCEEDED
    assert "an attempt could not be given out" in master.log()
    assert master.stop() == 0
    with house.master(), FakeClient(house.credentials()) as again:
        assert again.get(hurt.job_id).message == failed.message
