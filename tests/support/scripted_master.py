"""A master of which a test speaks every word, and a worker process that listens to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio

from mrcore.client.versions import versions
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.task import Piece, Split, TaskWork
from mrcore.plugin.bundle import build_bundle
from mrcore.rpc.cluster import Credentials, save_credentials
from mrcore.rpc.convert import job_spec_to_proto
from mrcore.rpc.convert_task import assignment_to_proto
from mrcore.rpc.v1 import failure_pb2, worker_service_pb2_grpc
from mrcore.rpc.v1 import worker_service_pb2 as pb
from tests.support.specs import job_spec, one_input

PLUGIN = """
import os, signal, time
def map(key, value):
    if value == "hang":
        open(os.environ["TEST_FLAG"], "w").close()
        signal.pause()
    if value == "wait":
        open(os.environ["TEST_FLAG"], "w").close()
        with open(os.environ["TEST_PIPE"]) as pipe:
            pipe.read()
    if value == "slow":
        open(os.environ["TEST_FLAG"], "w").close()
        time.sleep(0.02)
    yield value, 1
"""


class Call:
    """One request, to be answered by the test."""

    def __init__(self, request: pb.SynchronizeRequest) -> None:
        self.request = request
        self.response: asyncio.Future[pb.SynchronizeResponse] = (
            asyncio.get_running_loop().create_future()
        )

    def states(self) -> dict[int, int]:
        """Return the states of the attempts that it lists, by the index of their task."""
        return {held.attempt.index: held.state for held in self.request.held}

    def failure(self, index: int) -> failure_pb2.Failure:
        """Return the failure that the request reports for a task."""
        (found,) = [held for held in self.request.held if held.attempt.index == index]
        assert found.HasField("failure")
        return found.failure


class FakeMaster(worker_service_pb2_grpc.WorkerServiceServicer):
    """Hands every request to the test, and answers what it says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_uri = f"file://{folder}/state"
        self.token = "right"
        self.epoch = 1
        self._calls: asyncio.Queue[Call] = asyncio.Queue()
        self._jobs_sent = False
        self._server: grpc.aio.Server | None = None
        (folder / "state/plugins").mkdir(parents=True)
        (folder / "state/cluster.json").write_text('{"cluster_id": "c1", "nonce": "n1"}')
        (folder / "out").mkdir()
        (folder / "out/_claim").write_text('{"job_id": "job"}')
        (folder / "job.py").write_text(PLUGIN)
        bundle = build_bundle("job.py", [], folder)
        (folder / "state/plugins" / bundle.sha256).write_bytes(bundle.data)
        self.spec = job_spec(
            "job",
            sha256=bundle.sha256,
            plugin_name="job.py",
            inputs=one_input("file:///x", "x"),
            output_uri=f"file://{folder}/out",
            map_only=True,
            versions=versions(),
        )

    async def start(self) -> None:
        """Listen at a new port, and say so in the credentials file."""
        self._server = grpc.aio.server()
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        credentials = Credentials(address=f"127.0.0.1:{port}", token="right")
        save_credentials(credentials, self.folder / "credentials")

    async def stop(self) -> None:
        """Drop every connection."""
        assert self._server is not None
        await self._server.stop(None)

    async def Synchronize(  # noqa: N802 - the name in the proto
        self,
        request: pb.SynchronizeRequest,
        context: grpc.aio.ServicerContext[pb.SynchronizeRequest, pb.SynchronizeResponse],
    ) -> pb.SynchronizeResponse:
        """Wait for the test's answer."""
        if ("authorization", f"Bearer {self.token}") not in (context.invocation_metadata() or ()):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token")
        call = Call(request)
        self._calls.put_nowait(call)
        return await call.response

    async def call(self) -> Call:
        """Return the next request; those that were cancelled in favour of it are skipped."""
        while True:
            call = await self._calls.get()
            if not call.response.cancelled():
                return call

    async def until(self, condition: Callable[[Call], bool], *wanted: pb.Assignment) -> Call:
        """Answer requests in the same way until one satisfies `condition`; return it."""
        while not condition(call := await self.call()):
            self.answer(call, *wanted)
        return call

    def answer(
        self, call: Call, *wanted: pb.Assignment, drain: bool = False, leave: bool = False
    ) -> None:
        """Answer with all that the worker should hold."""
        response = pb.SynchronizeResponse(
            cluster_id="c1",
            epoch=self.epoch,
            sequence=call.request.sequence,
            wanted=wanted,
            sync_seconds=3.0,
            drain=drain,
            leave=leave,
            state_uri=self.state_uri,
        )
        if wanted and "job" not in call.request.known_jobs:
            response.jobs.add(job_id="job", spec=job_spec_to_proto(self.spec))
        if not call.response.done():
            call.response.set_result(response)

    async def greet(self) -> Call:
        """Go through the first requests; return the first one that may be given work."""
        self.answer(await self.call())
        return await self.until(lambda call: call.request.store_nonce == "n1")

    def read(self, uri: str) -> str:
        """Return the content of a file by its URI."""
        return Path(uri.removeprefix("file://")).read_text()

    def assignment(self, index: int, text: str) -> pb.Assignment:
        """Return a map attempt over a file with this text."""
        path = self.folder / f"input-{index}"
        path.write_text(text)
        info = path.stat()
        generation = f"{info.st_ino}-{info.st_mtime_ns}-{info.st_size}"
        piece = Piece(f"file://{path}", path.name, 0, info.st_size, info.st_size, generation)
        return assignment_to_proto(attempt(index), 0, TaskWork(Split((piece,)), 0))


def attempt(index: int) -> AttemptId:
    return AttemptId(TaskId("job", 0, index), AttemptNumber(1, index + 1))


def is_there(process_id: int) -> bool:
    """Return whether a process is there."""
    return Path(f"/proc/{process_id}").exists()


class Worker:
    """The process under test."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, lifeline: int) -> None:
        self.process = process
        self.folder = folder
        self.lifeline = lifeline

    async def begun(self) -> None:
        """Wait until the plugin says that it hangs or waits."""
        while not (self.folder / "flag").exists():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)

    def release(self) -> None:
        """Let the plugin that waits go on."""
        os.close(os.open(self.folder / "pipe", os.O_WRONLY))

    async def end(self) -> tuple[int, str]:
        """Wait for its end; return exit code and what it logged."""
        code = await self.process.wait()
        return code, (self.folder / "worker.log").read_text()

    def scratch(self) -> list[Path]:
        """Return the folders of workers that are there."""
        return list((self.folder / "scratch").iterdir())


@contextlib.asynccontextmanager
async def start_worker(folder: Path, *arguments: str, **environment: str) -> AsyncIterator[Worker]:
    """Start a worker; kill it in the end, if need be."""
    os.mkfifo(folder / "pipe") if not (folder / "pipe").exists() else None
    reader, writer = os.pipe()
    with (folder / "worker.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "mrcore.worker",
            "--credentials", str(folder / "credentials"),
            "--scratch", str(folder / "scratch"),
            "--lifeline-fd", str(reader), *arguments,
            stdout=log, stderr=log, pass_fds=(reader,),
            env={
                **os.environ, **environment,
                "TEST_FLAG": str(folder / "flag"), "TEST_PIPE": str(folder / "pipe"),
            },
        )  # fmt: skip
    os.close(reader)
    worker = Worker(process, folder, writer)
    try:
        yield worker
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        with contextlib.suppress(OSError):
            os.close(worker.lifeline)


Test = Callable[[FakeMaster, Worker], Awaitable[None]]


def conversation(*arguments: str, **environment: str) -> Callable[[Test], Callable[[Path], None]]:
    """Run a test with a master and a worker."""

    def decorate(test: Test) -> Callable[[Path], None]:
        async def run(folder: Path) -> None:
            master = FakeMaster(folder)
            await master.start()
            try:
                async with (
                    asyncio.timeout(50),
                    start_worker(folder, *arguments, **environment) as worker,
                ):
                    await test(master, worker)
            finally:
                await master.stop()

        def call(tmp_path: Path) -> None:
            asyncio.run(run(tmp_path))

        call.__name__, call.__doc__ = test.__name__, test.__doc__
        return call

    return decorate
