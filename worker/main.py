"""Command line of the worker daemon: `mrcore worker --master HOST:PORT`, or `--state URI`.

Child processes are started before the agent's modules are imported: both take about the same time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from random import Random  # noqa: TID251 - made here, passed on
from typing import TYPE_CHECKING, Any, Final

from mrcore.daemon import logs
from mrcore.daemon.collector import collect_rarely
from mrcore.daemon.options import DaemonParser, add_daemon_options
from mrcore.daemon.systemd import Notifier
from mrcore.errors import UsageError
from mrcore.model.resources import check_label, parse_cpus
from mrcore.storage.registry import absolute_uri, check_scheme
from mrcore.tasks.child.attempt_log import store_log
from mrcore.util import host
from mrcore.util.clock import SYSTEM
from mrcore.util.proc import folder_is_gone
from mrcore.util.secrecy import hide_memory, leave_no_core_files
from mrcore.util.signals import not_ignored
from mrcore.util.units import parse_duration, parse_size
from mrcore.worker.core.commands import Leave
from mrcore.worker.core.limits import DEFAULT
from mrcore.worker.shell.descriptors import raise_descriptor_limit
from mrcore.worker.shell.orphans import Orphans, adopt_orphans
from mrcore.worker.shell.scratch import scratch_base, scratch_folder
from mrcore.worker.shell.supervisor import Supervisor

if TYPE_CHECKING:
    from mrcore.worker.shell.agent import Agent
    from mrcore.worker.shell.health import Health

GRACE_SECONDS: Final = 25.0
"""Longest time from SIGTERM to the exit; common supervisors send SIGKILL after 30 s."""

log = logging.getLogger("mrcore.worker")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker until it leaves; return its exit code."""
    parser = _parser()
    if folder_is_gone("self"):
        parser.error("the current folder was deleted; change to one that exists")
    options = parser.parse_args(arguments)
    if not (options.master or options.state or options.credentials):
        parser.error(
            "no cluster is named; add --master HOST:PORT, --state URI or --credentials FILE"
        )
    try:
        host.check_slots(options.slots, options.memory)
        raise_descriptor_limit(options.slots)
        base = scratch_base(options.scratch)
    except UsageError as error:
        parser.error(str(error).rstrip("."))
    logs.configure(options.log_level, form=options.log_format)
    # Before the child processes start, which must not inherit its variables.
    notifier = Notifier(os.environ)
    leave_no_core_files()
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder(base))
        adopt_orphans()
        supervisor = Supervisor(
            slots=options.slots,
            slot_memory_bytes=options.memory or host.slot_bytes(options.slots),
            scratch=scratch.path,
            restore=scratch.restore,
            environment=os.environ,
            clock=SYSTEM,
            store_log=store_log,
            orphans=Orphans(),
        )
        stack.callback(supervisor.close)
        supervisor.prestart()
        # After the fork, and before there are secrets: children are measured through their memory.
        hide_memory()
        collect_rarely()
        # Unlike asyncio.run, this does not wait for threads that may be blocked on a store.
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(_serve(options, supervisor, notifier, stack.close))
        finally:
            loop.close()


def _parser() -> argparse.ArgumentParser:
    parser = DaemonParser(prog="mrcore worker", description="Run tasks for a master until stopped.")
    add = parser.add_argument
    add("--master", metavar="HOST:PORT", help="address of the master")
    add(
        "--state", type=_state, metavar="URI",
        help="state of the cluster; its leader object names the master",
    )  # fmt: skip
    add(
        "--credentials", type=_absolute, metavar="FILE",
        help="credentials of the cluster, as written by the master",
    )  # fmt: skip
    add(
        "--slots", type=_slots, default=1, metavar="N",
        help="attempts to run at once, or auto for one per core (default: 1)",
    )  # fmt: skip
    add(
        "--memory", type=_size, default=0, metavar="SIZE",
        help="resident memory of each slot (default: 60 %% of the machine, divided by the slots)",
    )  # fmt: skip
    add(
        "--cpus", type=_cpus, default=0.0, metavar="N",
        help="CPUs that tasks with --resources may take together (default: those of the machine)",
    )  # fmt: skip
    add(
        "--label", action="append", type=_label, default=[], metavar="NAME", dest="labels",
        help="label for tasks that need it, such as gpu; may be repeated",
    )  # fmt: skip
    add("--id", default="", metavar="NAME", help="name that a restarted process keeps")
    add("--scratch", type=Path, metavar="DIR", help="folder for temporary files")
    add(
        "--grace", type=_duration, default=GRACE_SECONDS, metavar="TIME",
        help="time to finish work after SIGTERM (default: 25s)",
    )  # fmt: skip
    add(
        "--preemption-notice",
        action="store_true",
        help="drain on Compute Engine's preemption notice",
    )
    add(
        "--orphan-timeout", type=_duration, metavar="TIME",
        help="leave with exit code 75 after this time without a master",
    )  # fmt: skip
    add_daemon_options(parser)
    return parser


def _state(text: str) -> str:
    try:
        uri = absolute_uri(text, str(Path.cwd()))
        check_scheme(uri)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return uri


def _absolute(text: str) -> str:
    return str(Path(text).absolute())


def _slots(text: str) -> int:
    if text == "auto":
        return host.cores()
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= DEFAULT.slots_max:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither auto nor a number from 1 to {DEFAULT.slots_max}"
        )
    return number


def _cpus(text: str) -> float:
    try:
        return parse_cpus(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _label(text: str) -> str:
    try:
        return check_label(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def load() -> None:
    """Import what `main` imports only when its children have been started."""
    from mrcore.client import versions
    from mrcore.worker.shell import agent, health, synchronizer

    assert versions
    assert agent
    assert health
    assert synchronizer


async def _serve(
    options: argparse.Namespace,
    supervisor: Supervisor,
    notifier: Notifier,
    hurry: Callable[[], None],
) -> int:
    from mrcore.client.versions import versions
    from mrcore.worker.core.machine import Machine
    from mrcore.worker.shell.agent import Agent
    from mrcore.worker.shell.health import Health
    from mrcore.worker.shell.synchronizer import ClusterAddress, Synchronizer, WorkerIdentity

    loop = asyncio.get_running_loop()
    # Milliseconds since 1970, so that each new process of an id has a higher number. If the clock
    # was set back, the master replies with the number to exceed.
    agent = Agent(Machine(session=int(SYSTEM.wall() * 1000)), supervisor)
    loop.set_exception_handler(lambda _, context: _give_up(agent, context))
    name = socket.gethostname()
    about = WorkerIdentity(
        worker_id=options.id or f"{name}-{os.getpid()}-{secrets.token_hex(3)}",
        slots=options.slots,
        memory_bytes=supervisor.slot_memory_bytes * options.slots,
        cpus=options.cpus or host.cores(),
        labels=tuple(sorted(set(options.labels))),
        host=name,
        process_id=os.getpid(),
        versions=versions(),
    )
    logs.add_to_all_lines(worker=about.worker_id)
    where = ClusterAddress(options.master, options.state, options.credentials)
    synchronizer = Synchronizer(agent, about, where, SYSTEM, Random())
    health = Health(agent, synchronizer, notifier, SYSTEM)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(_signals(health, options.grace, hurry))
        if options.metrics:
            from mrcore.worker.shell.metrics import measured

            stack.enter_context(measured(options.metrics, health))
        if options.lifeline_fd is not None:
            loop.add_reader(
                options.lifeline_fd,
                lambda: agent.leave(Leave(0, "the process that started it is gone")),
            )
        if options.preemption_notice or "GCE_METADATA_HOST" in os.environ:
            _watch_preemption(health, loop)
        async with asyncio.TaskGroup() as group:
            work = [agent.run(), synchronizer.run(), health.report()]
            work.append(
                _say_ready(agent, synchronizer.connected, options.ready_fd, about.worker_id)
            )
            if options.orphan_timeout is not None:
                work.append(synchronizer.leave_when_orphaned(options.orphan_timeout))
            tasks = [group.create_task(one) for one in work]
            leave = await agent.left()
            for task in tasks:
                task.cancel()
    log.log(logging.INFO if leave.code == 0 else logging.ERROR, "leaving: %s", leave.reason)
    return leave.code


@contextlib.asynccontextmanager
async def _signals(
    health: Health, grace_seconds: float, hurry: Callable[[], None]
) -> AsyncIterator[None]:
    """Drain at the first SIGTERM or SIGINT that is not ignored; exit at the second."""
    loop = asyncio.get_running_loop()
    numbers = not_ignored(signal.SIGINT, signal.SIGTERM)
    heard: list[int] = []

    def on_signal(number: int) -> None:
        heard.append(number)
        if len(heard) == 1:
            health.drain(f"got {signal.Signals(number).name}", grace_seconds)
        else:
            hurry()
            os._exit(128 + number)

    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _watch_preemption(health: Health, loop: asyncio.AbstractEventLoop) -> None:
    from mrcore.worker.shell import preemption

    def on_notice() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: this worker has left
            loop.call_soon_threadsafe(
                health.drain, "this machine is preempted", preemption.NOTICE_SECONDS
            )

    preemption.watch(
        os.environ.get("GCE_METADATA_HOST", preemption.DEFAULT_HOST), SYSTEM, on_notice
    )


async def _say_ready(
    agent: Agent, connected: asyncio.Event, descriptor: int | None, worker_id: str
) -> None:
    await connected.wait()
    logs.add_to_all_lines(cluster=os.environ.get("MRCORE_CLUSTER") or agent.machine.cluster_id)
    if descriptor is not None:
        with os.fdopen(descriptor, "w", encoding="utf-8") as ready:
            ready.write(json.dumps({"worker_id": worker_id}) + "\n")


def _give_up(agent: Agent, context: dict[str, Any]) -> None:
    """Leave because a callback failed: its work is lost, so a new process must start over."""
    log.critical("%s", context.get("message"), exc_info=context.get("exception"))
    agent.leave(Leave(1, "a defect in mrcore; please report it with the lines above"))
