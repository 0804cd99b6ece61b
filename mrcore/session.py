"""`mrcore.run`: a job from a program, a session or a notebook, on any of the engines.

import mrcore
result = mrcore.run(map=lambda key, line: ((word, 1) for word in line.split()),
                    reduce=lambda key, values: sum(values),
                    inputs=["books/*.txt"], output="out", workers=4)
print(result.counters, result.elapsed_seconds)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcore import layout
from mrcore.config import is_loopback, parse_address
from mrcore.errors import JobFailedError, UsageError
from mrcore.job import Compression, InputFormat, JobState, OutputFormat
from mrcore.request import Functions, JobRequest, Prepared, load_plugin, local_places, prepare
from mrcore.units import parse_duration, parse_size
from mrcore.views import JobView

if TYPE_CHECKING:
    from mrcore.client import Client
    from mrcore.config import Credentials
    from mrcore.follow import Observer

CONNECT_SECONDS = 5.0
"""How long `--master` waits for an address that does not answer, in all well below 10 s."""


@dataclass(frozen=True, slots=True)
class Result:
    """A job that succeeded."""

    job: JobView

    @property
    def job_id(self) -> str:
        """Return the job's id."""
        return self.job.job_id

    @property
    def output(self) -> str:
        """Return the folder of the output: a path for files, else a URI."""
        return layout.shown(self.job.output_uri)

    @property
    def counters(self) -> dict[str, int]:
        """Return what the user's code has counted."""
        return dict(self.job.counters)

    @property
    def elapsed_seconds(self) -> float:
        """Return how long the job took."""
        return self.job.elapsed_seconds

    def lines(self) -> Iterator[str]:
        """Yield the lines of the output, part by part, as text and without line ends."""
        from mrcore.reading import output_lines

        return output_lines(self.job.output_uri)


class RunFailedError(JobFailedError):
    """The job ran and failed; `job` says how, the message has the user's own traceback."""

    def __init__(self, job: JobView) -> None:
        message = job.message or f"{job.job_id} was {job.state}."
        if job.failure is not None and job.failure.traceback:
            message = f"{message}\n\n{job.failure.traceback.rstrip()}"
        super().__init__(message)
        self.job = job


def run(
    plugin: str | os.PathLike[str] | None = None,
    *,
    map: Callable[..., Any] | None = None,  # noqa: A002 - the names of the plugin's functions
    reduce: Callable[..., Any] | None = None,
    combine: Callable[..., Any] | None = None,
    partition: Callable[..., Any] | None = None,
    sort_key: Callable[..., Any] | None = None,
    setup: Callable[..., Any] | None = None,
    inputs: str | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    name: str = "session",
    files: Sequence[str | os.PathLike[str]] = (),
    reduces: int | None = None,
    input_format: str = "text",
    output_format: str = "text",
    compress: str = "none",
    map_only: bool = False,
    total_order: bool = False,
    params: Mapping[str, str] | None = None,
    max_attempts: int = 4,
    task_timeout: float | str | None = None,
    lease: float | str = 10.0,
    max_bad_records: int = 0,
    memory: int | str = 0,
    temp: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    priority: int = 0,
    workers: int | None = None,
    slots: int = 1,
    master: str | None = None,
    state: str | None = None,
    credentials: str | None = None,
    engine: str = "embedded",
) -> Result:
    """Run a job to its end and return its result.

    Give either `plugin`, as on the command line, or the functions themselves. Without `master` or
    `state` an embedded cluster of `workers` processes with `slots` slots each runs it; with
    `engine="inline"` it runs in this process. Sizes and durations are numbers (bytes, seconds) or
    texts such as "256MiB" and "30s"; `reduces=None` lets mrcore choose.

    Raises RunFailedError when the job failed, UsageError and its children when it cannot work as
    given, ClusterUnreachableError when no master answers.
    """
    target: str | Functions
    if plugin is not None and map is None:
        target = os.fspath(plugin)
    elif map is not None and plugin is None:
        target = Functions(
            map=map,
            reduce=reduce,
            combine=combine,
            partition=partition,
            sort_key=sort_key,
            setup=setup,
            name=name,
        )
    else:
        raise UsageError("mrcore.run needs either a plugin or a map function, and not both.")
    texts = [inputs] if isinstance(inputs, str) else list(inputs)
    request = JobRequest(
        plugin=target,
        inputs=tuple(os.fspath(text) for text in texts),
        output=os.fspath(output),
        cwd=Path.cwd(),
        files=tuple(os.fspath(file) for file in files),
        reduces=reduces or 0,
        input_format=_choice(InputFormat, input_format),
        output_format=_choice(OutputFormat, output_format),
        compression=_choice(Compression, compress),
        map_only=map_only,
        total_order=total_order,
        params=dict(params or {}),
        max_attempts=max_attempts,
        task_timeout_seconds=None if task_timeout is None else _seconds(task_timeout),
        lease_seconds=_seconds(lease),
        max_bad_records=max_bad_records,
        memory_bytes=_bytes(memory),
        temp=None if temp is None else os.fspath(temp),
        overwrite=overwrite,
        priority=priority,
    )
    if master is not None or state is not None:
        found = find_cluster(master, state, credentials)
        job = run_on_cluster(request, found)
    elif engine == "inline":
        from mrcore.inline import run_inline

        job = run_inline(request, slots=(workers or 1) * slots)
    elif engine == "embedded":
        job = run_embedded(request, workers=workers, slots=slots)
    else:
        raise UsageError(f"{engine!r} is no engine: use embedded or inline.")
    if job.state is not JobState.SUCCEEDED:
        raise RunFailedError(job)
    return Result(job)


def run_embedded(
    request: JobRequest,
    *,
    workers: int | None = None,
    slots: int = 1,
    observer: Observer | None = None,
) -> JobView:
    """Run a job on a cluster of its own on this machine; return it once it has ended."""
    from mrcore.embedded import EmbeddedCluster, default_workers

    count = default_workers() if workers is None else workers
    if count < 1 or slots < 1:
        raise UsageError("An embedded cluster needs at least one worker with one slot.")
    prepared = prepare(request)
    with EmbeddedCluster(
        workers=count, slots=slots, memory_bytes=request.memory_bytes, cwd=request.cwd
    ) as cluster:
        # These take as long as the daemons need to start, so they cost nothing.
        from mrcore.client import Client

        prepared = load_plugin(prepared)
        with Client(cluster.credentials()) as client:
            return _submit_and_follow(
                client, prepared, observer, tend=cluster.tend, record=cluster.record
            )


def run_on_cluster(
    request: JobRequest, credentials: Credentials, *, observer: Observer | None = None
) -> JobView:
    """Run a job on a cluster that is up; return it once it has ended."""
    from mrcore.client import Client

    prepared = load_plugin(prepare(request, look=False))
    if observer is not None:
        _warn_of_local_places(prepared, credentials, observer.note)
    with Client(credentials) as client:
        return _submit_and_follow(client, prepared, observer)


def submit(
    request: JobRequest,
    credentials: Credentials,
    *,
    note: Callable[[str], None] = lambda text: None,
) -> JobView:
    """Start a job on a cluster that is up and return it as accepted; `note` takes warnings."""
    from mrcore.client import Client

    prepared = load_plugin(prepare(request, look=False))
    _warn_of_local_places(prepared, credentials, note)
    with Client(credentials) as client:
        return client.submit(prepared.spec, prepared.bundle.data)


def _warn_of_local_places(
    prepared: Prepared, credentials: Credentials, note: Callable[[str], None]
) -> None:
    host, _ = parse_address(credentials.address)
    places = [] if is_loopback(host) else local_places(prepared.spec)
    if places:
        note(f"{places[0]} is a local path: the machines of the cluster must see it too.")


def find_cluster(
    master: str | None, state: str | None = None, credentials: str | None = None
) -> Credentials:
    """Return how to call a cluster.

    Raises ClusterUnreachableError within 10 s when nothing answers there, which is found out before
    credentials are looked for; UsageError when these are missing.
    """
    from mrcore.rpc.credentials import find_credentials
    from mrcore.storage.registry import absolute_uri

    state_uri = None if state is None else absolute_uri(state, str(Path.cwd())).rstrip("/")
    return find_credentials(master, state_uri, credentials, reach_seconds=CONNECT_SECONDS)


def _submit_and_follow(
    client: Client,
    prepared: Prepared,
    observer: Observer | None,
    *,
    tend: Callable[[], None] = lambda: None,
    record: Callable[[JobView], None] = lambda job: None,
) -> JobView:
    from mrcore.client import new_request_id
    from mrcore.follow import Silent, cancel, follow

    told = observer or Silent()
    request_id = new_request_id()
    try:
        job = client.submit(prepared.spec, prepared.bundle.data, request_id)
    except KeyboardInterrupt:
        # The master may have it already: ask again by the same id, so that it can be cancelled.
        told.note("cancelling; Ctrl-C again leaves at once.")
        job = client.submit(prepared.spec, prepared.bundle.data, request_id)
        cancel(client, job.job_id, told)
        raise
    record(job)
    told.update(job)
    try:
        job = follow(client, job.job_id, told, tend=tend)
    except KeyboardInterrupt:
        record(client.get(job.job_id))
        raise
    record(job)
    return job


def _choice(kind: Any, text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise UsageError(f"{text!r} is not one of {known}.") from None


def _seconds(value: float | str) -> float:
    try:
        return parse_duration(value) if isinstance(value, str) else float(value)
    except ValueError as error:
        raise UsageError(f"{error}.") from None


def _bytes(value: int | str) -> int:
    try:
        return parse_size(value) if isinstance(value, str) else int(value)
    except ValueError as error:
        raise UsageError(f"{error}.") from None
