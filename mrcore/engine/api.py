"""`mrcore.run`: a job from a program, a session or a notebook, on any of the engines.

import mrcore

result = mrcore.run(
    map=lambda key, line: ((word, 1) for word in line.split()),
    reduce=lambda key, values: sum(values),
    inputs=["books/*.txt"],
    output="out",
    workers=4,
)
print(result.counters, result.elapsed_seconds)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from mrcore.client.arguments import JobInputs, JobOptions, cluster_names, make_request
from mrcore.client.option_values import count
from mrcore.client.python_names import in_python, python_errors
from mrcore.client.request import (
    JobRequest,
    Prepared,
    before_tasks,
    folder_uri,
    load_plugin,
    local_places,
    prepare,
)
from mrcore.engine.local_run import run_embedded, submit_and_follow
from mrcore.errors import JobFailedError, UsageError
from mrcore.model import object_names
from mrcore.model.job import JobState
from mrcore.model.snapshots import JobView
from mrcore.plugin import nesting
from mrcore.rpc.cluster import is_loopback, parse_address
from mrcore.util.units import show_duration

if TYPE_CHECKING:
    from mrcore.client.follow import Observer
    from mrcore.rpc.cluster import Credentials

CONNECT_SECONDS = 5.0
"""Longest wait of `--master` for an address that does not answer, in all well below 10 s."""


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """A job that succeeded."""

    job: JobView

    def __repr__(self) -> str:
        # A notebook shows it whenever `mrcore.run(...)` is the last line of a cell.
        return f"<Result of {self.job_id}: {self.output}, {show_duration(self.elapsed_seconds)}>"

    @property
    def job_id(self) -> str:
        """Return the job's id."""
        return self.job.job_id

    @property
    def output(self) -> str:
        """Return the folder of the output: a path for files, else a URI."""
        return object_names.shown(self.job.output_uri)

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
        from mrcore.output.reading import output_lines

        return output_lines(self.job.output_uri)


class RunFailedError(JobFailedError):
    """The job ran and failed; `job` says how, the message has the user's own traceback."""

    def __init__(self, job: JobView, words: Callable[[str], str] = in_python) -> None:
        """`words` puts the names of options in a program in place of flags."""
        message = words(job.message or f"{job.job_id} was {job.state}.")
        if job.failure is not None and job.failure.traceback:
            message = f"{message}\n\n{job.failure.traceback.rstrip()}"
        super().__init__(message)
        self.job = job
        """The job as it ended."""


@python_errors()
def run(
    plugin: str | os.PathLike[str] | None = None,
    *,
    inputs: JobInputs,
    output: str | os.PathLike[str],
    workers: int | None = None,
    slots: int = 1,
    master: str | None = None,
    state: str | os.PathLike[str] | None = None,
    credentials: str | os.PathLike[str] | None = None,
    engine: str = "embedded",
    **options: Unpack[JobOptions],
) -> Result:
    """Run a job to its end and return its result.

    Give either `plugin`, as on the command line, or functions: `map=`, `reduce=` and so on. An
    embedded cluster of `workers` processes with `slots` slots each runs it, or the cluster that
    `master` or `state` names; with `engine="inline"` it runs in this process.

    Raises RunFailedError when the job failed, UsageError and its children when it cannot work as
    given, ClusterUnreachableError when no master answers.
    """
    nesting.check_allowed()
    if workers is not None:
        workers = count("workers", workers)
    slots = count("slots", slots)
    request = make_request(plugin, inputs, output, **options)
    if master is not None or state is not None or credentials is not None:
        named = cluster_names(master, state, credentials)
        job = run_on_cluster(request, find_cluster(*named), find=finder(*named))
    elif engine == "inline":
        from mrcore.engine.inline import run_inline

        job = run_inline(request, slots=(workers or 1) * slots)
    elif engine == "embedded":
        job = run_embedded(request, workers=workers, slots=slots)
    else:
        raise UsageError(f"{engine!r} is not an engine. Use embedded or inline.")
    if job.state is not JobState.SUCCEEDED:
        raise RunFailedError(job)
    return Result(job)


def run_on_cluster(
    request: JobRequest,
    credentials: Credentials,
    *,
    find: Callable[[], Credentials] | None = None,
    observer: Observer | None = None,
) -> JobView:
    """Run a job on a cluster that is up and return it once it has ended.

    `find` returns how to call the master that leads by then.
    """
    from mrcore.client.client import MasterClient

    prepared = load_plugin(prepare(request, look=False))
    if observer is not None:
        _warn_of_local_places(prepared, credentials, observer.note)
    with MasterClient(credentials, find=find) as client:
        return submit_and_follow(client, prepared, observer)


def submit(
    request: JobRequest,
    credentials: Credentials,
    *,
    note: Callable[[str], None] = lambda text: None,
) -> JobView:
    """Start a job on a cluster that is up and return it as accepted; `note` takes warnings."""
    from mrcore.client.client import MasterClient

    prepared = load_plugin(prepare(request, look=False))
    _warn_of_local_places(prepared, credentials, note)
    with MasterClient(credentials) as client, before_tasks():
        return client.submit(prepared.spec, prepared.bundle.data)


def _warn_of_local_places(
    prepared: Prepared, credentials: Credentials, note: Callable[[str], None]
) -> None:
    host, _ = parse_address(credentials.address)
    places = [] if is_loopback(host) else local_places(prepared.spec)
    if places:
        note(f"{places[0]} is a local path: the machines of the cluster must see it too.")


def find_cluster(
    master: str | None,
    state: str | None = None,
    credentials: str | None = None,
) -> Credentials:
    """Return how to call a cluster.

    Raises ClusterUnreachableError within 10 s when nothing answers there, which is found out before
    credentials are looked for; UsageError when these are missing.
    """
    from mrcore.rpc.credentials import find_credentials

    state_uri = None if state is None else folder_uri(state, Path.cwd())
    return find_credentials(master, state_uri, credentials, reach_seconds=CONNECT_SECONDS)


def finder(
    master: str | None, state: str | None = None, credentials: str | None = None
) -> Callable[[], Credentials]:
    """Return what tells, without asking a master, how to call the one that leads by then."""
    from mrcore.rpc.credentials import find_credentials

    state_uri = None if state is None else folder_uri(state, Path.cwd())
    return lambda: find_credentials(master, state_uri, credentials, reach_seconds=None)
