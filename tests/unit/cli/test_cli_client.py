"""The client against a scripted master: pages, repeats while it is away, and what errors become."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

import mrcore
from mrcore.client.client import MasterClient
from mrcore.client.tokens import addresses_of_now
from mrcore.errors import ClusterUnreachableError, UsageError
from mrcore.model.job import JobState, TaskState
from mrcore.model.master import MasterRole, MasterView
from mrcore.model.snapshots import AttemptCounts, FailureView, FleetView, JobView, StageView
from mrcore.model.task import FailureKind
from mrcore.rpc.channel import Learn, connect
from mrcore.rpc.cluster import Credentials, Leader, loopback_file, save_credentials
from mrcore.rpc.masters import LEADER_KEY, MASTERS_KEY
from mrcore.rpc.roles import Role
from mrcore.rpc.tokens import RoleToken
from mrcore.rpc.v1 import failure_pb2, job_pb2, job_service_pb2
from mrcore.rpc.views import fleet_to_proto, master_to_proto
from tests.support.fake_clock import FakeClock
from tests.support.job_messages import SPEC, message

AWAY = grpc.StatusCode.UNAVAILABLE


class ScriptedMaster:
    """Answers each call with the next step of the script; what is left over fails the test."""

    def __init__(self) -> None:
        self.script: list[Any] = []
        self.requests: list[Any] = []
        self.metadata: tuple[tuple[str, str], ...] = ()
        """Metadata of each reply."""
        self.port = 0

    def unary(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer a unary call."""
        self.requests.append(request)
        given = dict(context.invocation_metadata())["authorization"]
        assert str(given).startswith("Bearer secret")
        context.set_trailing_metadata(self.metadata)
        step = self.script.pop(0)
        if isinstance(step, grpc.StatusCode):
            context.abort(step, "scripted")
        return step

    def stream(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Answer a Watch."""
        for step in self.unary(request, context):
            if isinstance(step, grpc.StatusCode):
                context.abort(step, "scripted")
            yield job_service_pb2.WatchResponse(job=step)

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the service, as gRPC wants it."""
        service = job_service_pb2.DESCRIPTOR.services_by_name["JobService"]
        methods = {}
        for method in service.methods:
            decode = getattr(job_service_pb2, method.input_type.name).FromString
            encode = getattr(job_service_pb2, method.output_type.name).SerializeToString
            make = grpc.unary_unary_rpc_method_handler
            if method.name == "Watch":
                make = grpc.unary_stream_rpc_method_handler
            answer = self.stream if method.name == "Watch" else self.unary
            methods[method.name] = make(answer, decode, encode)
        return grpc.method_handlers_generic_handler(service.full_name, methods)


@contextlib.contextmanager
def scripted_master() -> Iterator[ScriptedMaster]:
    """Serve on loopback, and check at the end that the whole script was played."""
    scripted = ScriptedMaster()
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((scripted.handler(),))
        scripted.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield scripted
        server.stop(0).wait()
    assert scripted.script == []


@pytest.fixture
def master() -> Iterator[ScriptedMaster]:
    """Yield a master that answers by script."""
    with scripted_master() as scripted:
        yield scripted


@pytest.fixture
def clock() -> FakeClock:
    """Waiting costs nothing."""
    return FakeClock()


@pytest.fixture
def client(master: ScriptedMaster, clock: FakeClock) -> Iterator[MasterClient]:
    """Speak to the scripted master."""
    address = f"127.0.0.1:{master.port}"
    with MasterClient(Credentials(address=address, token="secret"), clock=clock) as found:
        yield found


def test_a_job_as_the_client_sees_it(master: ScriptedMaster, client: MasterClient) -> None:
    job = message(state=job_pb2.JOB_STATE_FAILED)
    job.message = "map-00000 failed 4 times."
    job.failure.kind = failure_pb2.Failure.KIND_USER
    job.failure.traceback = "Traceback"
    job.stages.add(name="map", tasks=2, completed=1, done_tasks=1.5, records=7)
    job.counters["x"] = 3
    job.bad_records = 2
    job.attempts.started = 5
    job.recent_failures.add(attempt="map-00000@1.2", worker_id="w")
    job.recent_failures[0].failure.kind = failure_pb2.Failure.KIND_DATA
    master.script = [job_service_pb2.GetResponse(job=job)]
    assert client.get("j-1") == JobView(
        job_id="j-1",
        name="wc",
        state=JobState.FAILED,
        output_uri="file:///out",
        stages=(StageView(name="map", tasks=2, completed=1, done_tasks=1.5, records=7),),
        counters={"x": 3},
        bad_records=2,
        attempts=AttemptCounts(started=5),
        message="map-00000 failed 4 times.",
        failure=FailureView(kind=FailureKind.USER, message="", traceback="Traceback"),
        recent_failures=(
            FailureView(kind=FailureKind.DATA, message="", attempt="map-00000@1.2", worker_id="w"),
        ),
    )


def test_submit_is_repeated_with_one_request_id(
    master: ScriptedMaster, client: MasterClient, clock: FakeClock
) -> None:
    master.script = [AWAY, AWAY, job_service_pb2.SubmitResponse(job=message())]
    assert client.submit(SPEC, b"bundle").job_id == "j-1"
    assert len({request.request_id for request in master.requests}) == 1
    assert master.requests[0].plugin_bundle == b"bundle"
    assert clock.slept == [0.1, 0.2]


def test_a_job_is_submitted_as_it_is_run(
    master: ScriptedMaster, client: MasterClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wc.py").write_text("def map(key, value):\n    yield value, 1\n")
    master.script = [job_service_pb2.SubmitResponse(job=message())] * 2
    first = client.submit_job("wc.py", inputs="gs://b/in/", output="gs://b/one")
    client.submit_job("wc.py", inputs="gs://b/one/", output="gs://b/two", after=first, reduces=3)
    sent = [request.spec for request in master.requests]
    assert [one.output_uri for one in sent] == ["gs://b/one", "gs://b/two"]
    assert [list(one.after) for one in sent] == [[], ["j-1"]]
    assert sent[1].reduces == 3
    assert master.requests[0].plugin_bundle
    with pytest.raises(UsageError, match=r"^after is 3, but has to be a job id or a Result"):
        client.submit_job("wc.py", inputs="in", output="out", after=3)  # type: ignore[arg-type]


def test_a_master_that_stays_away_is_given_up(
    master: ScriptedMaster, client: MasterClient, clock: FakeClock
) -> None:
    master.script = [AWAY for _ in range(8)]
    with pytest.raises(ClusterUnreachableError, match="does not answer"):
        client.get("j-1")
    assert 10.0 <= sum(clock.slept) < 20.0


def test_errors_are_not_repeated(master: ScriptedMaster, client: MasterClient) -> None:
    master.script = [grpc.StatusCode.FAILED_PRECONDITION]
    with pytest.raises(UsageError, match="scripted"):
        client.cancel("j-1")


def test_a_client_that_was_given_an_address_follows_the_leader(
    master: ScriptedMaster, client: MasterClient, clock: FakeClock
) -> None:
    running, done = message(), message(state=job_pb2.JOB_STATE_SUCCEEDED)
    with scripted_master() as standby, scripted_master() as leader:
        here, there, last = (f"127.0.0.1:{one.port}" for one in (master, standby, leader))
        master.metadata = ((MASTERS_KEY, f"{here},{there}"),)
        standby.metadata = ((LEADER_KEY, last),)
        # The leader names a standby, and dies. That one names the leader that there is by then.
        master.script = [job_service_pb2.GetResponse(job=running), [running, AWAY]]
        standby.script = [AWAY]
        leader.script = [[running, done], job_service_pb2.GetResponse(job=done)]
        assert client.get("j-1").state is JobState.RUNNING
        assert [job.state for job in client.watch("j-1")][-1] is JobState.SUCCEEDED
        assert client.get("j-1").state is JobState.SUCCEEDED
        assert client.credentials == Credentials(address=last, token="secret")
        assert len(clock.slept) == 2


def test_masters_as_the_client_sees_them(master: ScriptedMaster, client: MasterClient) -> None:
    view = MasterView(
        master_id="m",
        address="h:1",
        role=MasterRole.STANDBY,
        epoch=3,
        entry=9,
        behind=2,
        host="h",
        process_id=7,
        started_at=5.5,
        heard_seconds=1.5,
    )
    master.script = [job_service_pb2.ListMastersResponse(masters=[master_to_proto(view)])]
    assert client.masters() == (view,)


def test_watch_survives_restarts(
    master: ScriptedMaster, client: MasterClient, clock: FakeClock
) -> None:
    running, done = message(), message(state=job_pb2.JOB_STATE_SUCCEEDED)
    master.script = [[running, AWAY], AWAY, [running], [running, done]]
    states = [job.state for job in client.watch("j-1")]
    assert states == [JobState.RUNNING] * 3 + [JobState.SUCCEEDED]
    assert clock.slept == [0.1, 0.2, 0.1]


def test_watch_gives_up_after_its_time(master: ScriptedMaster, clock: FakeClock) -> None:
    address = f"127.0.0.1:{master.port}"
    master.script = [[message(), AWAY], *(AWAY for _ in range(5))]
    credentials = Credentials(address=address, token="secret")
    with MasterClient(credentials, retry_seconds=3.0, clock=clock) as client:
        watch = client.watch("j-1")
        assert next(watch).state is JobState.RUNNING
        with pytest.raises(ClusterUnreachableError):
            next(watch)
    assert sum(clock.slept) == pytest.approx(0.1 + 0.2 + 0.4 + 0.8 + 1.6)


def test_lists_are_read_page_by_page(master: ScriptedMaster, client: MasterClient) -> None:
    master.script = [
        job_service_pb2.ListResponse(jobs=[message("j-3"), message("j-2")], next_page_token="2"),
        job_service_pb2.ListResponse(jobs=[message("j-1")]),
    ]
    assert [job.job_id for job in client.list()] == ["j-3", "j-2", "j-1"]
    assert [request.page_token for request in master.requests] == ["", "2"]


def test_tasks_of_a_stage(master: ScriptedMaster, client: MasterClient) -> None:
    task = job_pb2.Task(stage="map", index=3, state=job_pb2.TASK_STATE_IN_PROGRESS)
    task.attempts.add(number="5.2", worker_id="w", state="running", fraction=0.5)
    task.story.append("assigned")
    master.script = [job_service_pb2.ListTasksResponse(tasks=[task])]
    found = list(client.tasks("j-1", "map", TaskState.IN_PROGRESS))
    assert [(t.name, t.state, t.story) for t in found] == [
        ("map-00003", TaskState.IN_PROGRESS, ("assigned",))
    ]
    assert found[0].attempts[0].fraction == 0.5
    assert master.requests[0].stage == "map"
    assert master.requests[0].state == job_pb2.TASK_STATE_IN_PROGRESS


def test_a_client_asks_for_the_fleet(master: ScriptedMaster, client: MasterClient) -> None:
    fleet = FleetView(target="gce:p/zones/z", cluster="books", notes=("stockout",))
    master.script = [
        job_service_pb2.GetFleetResponse(fleet=fleet_to_proto(fleet)),
        job_service_pb2.GetFleetResponse(),
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
    ]
    assert client.fleet() == fleet
    assert client.fleet() is None
    assert client.fleet() is None, "a master of an earlier version has none"
    assert len(master.requests) == 4, "a master that restarts is asked again"
    with pytest.raises(UsageError, match="does not accept this token"):
        client.fleet()


def test_a_master_that_comes_back_is_called_over_the_same_channel(
    master: ScriptedMaster, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def counted(credentials: Credentials, learn: Learn) -> grpc.Channel:
        made.append(credentials)
        return connect(credentials, learn)

    monkeypatch.setattr("mrcore.client.connection.connect", counted)
    leader = Credentials(address=f"127.0.0.1:{master.port}", token="secret")
    master.script = [grpc.StatusCode.UNAVAILABLE] * 3 + [job_service_pb2.GetFleetResponse()]
    with MasterClient(leader, find=lambda: leader, clock=clock) as client:
        assert client.fleet() is None
    assert made == [leader]


def test_a_file_for_somebody_names_masters_that_replies_do_not_name_yet(
    master: ScriptedMaster, client: MasterClient
) -> None:
    own = f"127.0.0.1:{master.port}"
    views = [
        MasterView(master_id=str(number), address=address, role=role)
        for number, (address, role) in enumerate(
            [(own, MasterRole.LEADER), ("new:1", MasterRole.STANDBY)]
        )
    ]
    master.metadata = ((MASTERS_KEY, f"{own},former:1"),)
    master.script = [
        job_service_pb2.ListMastersResponse(masters=[master_to_proto(view) for view in views])
    ]
    assert addresses_of_now(client) == (own, "new:1", "former:1")


def test_a_token_that_was_replaced_is_looked_for_once(
    master: ScriptedMaster, clock: FakeClock
) -> None:
    refused = grpc.StatusCode.UNAUTHENTICATED
    address = f"127.0.0.1:{master.port}"
    tokens = ["secret of now", "secret of now", "secret of then", "secret of now"]
    with MasterClient(
        Credentials(address=address, token="secret"),
        find=lambda: Credentials(address=address, token=tokens.pop(0)),
        clock=clock,
    ) as client:
        master.script = [refused, job_service_pb2.GetResponse(job=message())]
        assert client.get("j-1").job_id == "j-1"
        assert client.credentials.token == "secret of now"
        # The state has no other one, so this is the answer.
        master.script = [refused]
        with pytest.raises(UsageError, match="does not accept this token"):
            client.get("j-1")
        # One that was refused before does not come back.
        master.script = [refused, refused]
        with pytest.raises(UsageError, match="does not accept this token"):
            client.get("j-1")
    assert tokens == []
    assert clock.slept == []


def test_a_client_is_made_from_an_address(
    master: ScriptedMaster, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    address = f"127.0.0.1:{master.port}"
    file = loopback_file(master.port)
    save_credentials(Credentials(address=address, token="secret"), file)
    leader = Leader(cluster_id="c", epoch=1, address=address)
    (tmp_path / "leader.json").write_bytes(msgspec.json.encode(leader))
    own = RoleToken(role=Role.USER, token="secret", created_at=0.0)
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens/user.json").write_bytes(msgspec.json.encode(own))
    clients = (
        MasterClient(address, clock=clock),
        MasterClient(state=tmp_path, clock=clock),
        MasterClient(credentials=file, clock=clock),
    )
    for client in clients:
        with client:
            master.script = [AWAY, job_service_pb2.GetResponse(job=message())]
            assert client.get("j-1").job_id == "j-1"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (mrcore.Client, "Which cluster"),
        (lambda: mrcore.Client("no port:"), "is not an address"),
        (lambda: mrcore.Client(b"x:1"), "master is b'x:1', but has to be an address"),  # type: ignore[arg-type]
        (lambda: mrcore.Client(state=3), "state is 3, but has to be a path"),  # type: ignore[arg-type]
    ],
)
def test_what_names_no_cluster_is_told(make: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.get(5),
        lambda client: client.cancel("j", 5),
        lambda client: next(client.watch(None, "soon")),
        lambda client: next(client.tasks("j", 3)),
        lambda client: next(client.tasks("j", state=3)),
        lambda client: client.drain(object()),
        lambda client: client.read_log("j", index=-1),
        lambda client: client.submit("wc.py", b""),
    ],
)
def test_arguments_of_a_wrong_type_are_told(
    client: MasterClient, ask: Callable[[Any], object]
) -> None:
    with pytest.raises(UsageError):
        ask(client)
