"""Connection to a master, by its address or through a tunnel, and the wait until it answers."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from mrcore.errors import ClusterUnreachableError, MrcoreError, UnavailableError
from mrcore.gce import leave
from mrcore.gce.console import quoted, say
from mrcore.gce.crew import Step
from mrcore.gce.failures import GcloudError, StepsFailedError, explain
from mrcore.gce.inventory import Row
from mrcore.gce.machines import MODELS, group_name, master_name, place_option
from mrcore.gce.masters import LeaderTunnel, tunnel_command
from mrcore.gce.record import Record
from mrcore.gce.runner import Runner
from mrcore.gce.tunnel import Tunnel, free_port
from mrcore.rpc.masters import TUNNEL_VARIABLE
from mrcore.util.clock import SYSTEM

MASTER_SECONDS = 600.0
"""Longest time until a master answers, from the request for its VM."""
_REACH_SECONDS = 1.0
_PAUSE_SECONDS = 1.0
_LOOK_SECONDS = 3.0
_AT_ONCE_SECONDS = 2.0
"""A master that is up already answers within this time."""
_LOG_LINES = 20
_STOPPED = ("STOPP", "TERMINATED")
_NO_MASTER_LEFT = ("master STOPP", "master TERMINATED")
_T = TypeVar("_T")


class Connection:
    """Way to the master of a cluster; `close` it at the end."""

    def __init__(self, runner: Runner, *, reach: bool = True) -> None:
        """Open a tunnel where the cluster wants one, unless its master is not to be reached."""
        record = runner.cluster()
        self._runner = runner
        self.state = leave.state_uri(record.home)
        self.address: str | None = None
        self._tunnel: Tunnel | LeaderTunnel | None = None
        self._reported: set[tuple[str, str]] = set()
        if record.connect != "iap" or not reach:
            return
        if runner.dry:
            runner.note(f"meanwhile: {quoted(_tunnel_command(runner, record, 'PORT'))}")
            return
        port = str(free_port())
        self.address = f"localhost:{port}"
        # Callers through it stay with it: what leads is reached there.
        os.environ[TUNNEL_VARIABLE] = self.address
        if record.masters == 1 and len(runner.master_rows()) < 2:
            self._tunnel = Tunnel(_tunnel_command(runner, record, port), runner.gcloud.log)
            return
        self._tunnel = LeaderTunnel(
            self.state,
            lambda: runner.inventory.machine_states(runner.name),
            lambda row: tunnel_command(row.name, row.place, runner.project, port),
            lambda command: Tunnel(command, runner.gcloud.log),
        )

    @property
    def options(self) -> list[str]:
        """Options by which `mrcore` finds the master."""
        found = [f"--state={self.state}"]
        return found if self.address is None else [*found, f"--master={self.address}"]

    def abandon(self) -> None:
        """End the tunnel without waiting."""
        if self._tunnel is not None:
            self._tunnel.end()

    def close(self) -> None:
        """Close the tunnel."""
        if self._tunnel is not None:
            self._tunnel.close()

    # -- waiting ---------------------------------------------------------------------------------

    def await_master(self) -> None:
        """Wait until the master answers, and report what the machines do meanwhile.

        Raises ClusterUnreachableError where it does not.
        """
        given_up = threading.Event()
        start = SYSTEM.monotonic()
        waiter = Step(lambda: self._count_workers(start + MASTER_SECONDS, given_up))
        crew = self._runner.crew
        try:
            if not crew.wait([waiter], _AT_ONCE_SECONDS):
                say(
                    "waiting for the master. A VM is ready after a minute or two, or after half a "
                    "minute with an image of mrcore …"
                )
            last = ""
            while waiter.alive:
                states = self._look_at_machines()
                if states and states != last:
                    say(states)
                    last = states
                if states.startswith(_NO_MASTER_LEFT):
                    raise self._failed_boot()
                crew.wait([waiter], _LOOK_SECONDS)
            workers = waiter.result()
        finally:
            given_up.set()
        seconds = SYSTEM.monotonic() - start
        after = "" if seconds < 5 else f" after {seconds:.0f} s"
        have = "worker has" if workers == 1 else "workers have"
        say(f"the master answers{after}; {workers} {have} joined so far.")

    def _count_workers(self, end: float, given_up: threading.Event) -> int:
        """Return how many workers the master has, as soon as it answers a call."""
        while True:
            try:
                return self.ask(lambda client: len(client.workers()))
            except (ClusterUnreachableError, UnavailableError):  # a standby says the latter
                if SYSTEM.monotonic() > end or given_up.is_set():
                    raise
            given_up.wait(_PAUSE_SECONDS)

    def ask(self, question: Callable[..., _T]) -> _T:
        """Return the answer to a question to the master, which is asked through a MasterClient."""
        from mrcore.client.client import MasterClient
        from mrcore.rpc.credentials import find_credentials

        found = find_credentials(self.address, self.state, reach_seconds=_REACH_SECONDS)
        with MasterClient(found) as client:
            return question(client)

    def other_jobs(self, output: str) -> list[str]:
        """Return the jobs in progress that write elsewhere; none where no master answers."""
        from mrcore.model import object_names

        def unended(client: object) -> list[str]:
            jobs = [job for job in client.list() if not job.state.final]  # type: ignore[attr-defined]
            return [job.job_id for job in jobs if object_names.shown(job.output_uri) != output]

        try:
            return self.ask(unended)
        except MrcoreError:
            return []

    def _look_at_machines(self) -> str:
        """Return one line on the machines, and report what the groups could not do."""
        runner, lines = self._runner, list[str]()

        def look() -> None:
            try:
                lines.append(describe_states(runner.inventory.machine_states(runner.name)))
            except GcloudError as error:
                say(str(error))

        runner.crew.together(look, self.report_group_errors)
        return "".join(lines)

    def _failed_boot(self) -> ClusterUnreachableError:
        say("the master could not start; the end of its boot log:")
        vm = master_name(self._runner.name)
        home = self._runner.home
        lines = self._runner.crew.do(lambda: leave.logs_of_vm(home, vm)).splitlines()
        sys.stderr.write("".join(f"{line}\n" for line in lines[-_LOG_LINES:]))
        return ClusterUnreachableError(f"the master of {self._runner.name} does not answer.")

    # -- groups ----------------------------------------------------------------------------------

    def report_group_errors(self) -> None:
        """Report what the groups could not do, each thing once: stockouts and quotas above all."""
        runner, record = self._runner, self._runner.cluster()
        # While no master answers, only one of them is to have workers.
        models = MODELS if runner.command == "status" else (record.provisioning,)
        for model in models:
            for words in _group_errors(runner, record, model):
                if (model, words) in self._reported:
                    continue
                self._reported.add((model, words))
                log = str(runner.gcloud.log or "its output")
                say(explain(f"Making a {model} worker", words, runner.project, log))


def describe_states(rows: list[Row]) -> str:
    """Return one line on machines: `master RUNNING; workers: 3 RUNNING, 1 STAGING`."""
    states = [row.state for row in rows if row.role == "master"]
    master = states[0] if states else "not there yet"
    if len(states) > 1:
        # While one of them lives there is a master.
        live = [state for state in states if not state.startswith(_STOPPED)] or states
        master = f"{live[0]} ({len(live)} of {len(states)})"
    counts = Counter(row.state for row in rows if row.role == "worker")
    workers = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"master {master}; workers: {workers}" if workers else f"master {master}"


def _group_errors(runner: Runner, record: Record, model: str) -> list[str]:
    group = group_name(runner.name, model)
    try:
        found = runner.gcloud.read(
            f"Asking {group} for errors",
            *("compute", "instance-groups", "managed", "list-errors", group),
            *(place_option(record.location), "--format=json(error.code,error.message)"),
        )
    except (GcloudError, StepsFailedError):
        return []
    errors = (item.get("error") or {} for item in found or ())
    return sorted({f"{error.get('code', '')}: {error.get('message', '')}" for error in errors})


def _tunnel_command(runner: Runner, record: Record, port: str) -> list[str]:
    rows = runner.master_rows()
    vm, zone = master_name(runner.name), record.master_zone
    if rows and vm not in {row.name for row in rows}:
        # Of several masters it was another one that stayed.
        vm, zone = rows[0].name, rows[0].place
    return tunnel_command(vm, zone, runner.project, port)
