"""The parts of a master that leads, put together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import SystemRandom  # noqa: TID251 - the type only: a generator is passed in
from typing import TYPE_CHECKING

from mrcore.master.fleet.options import FleetOptions
from mrcore.master.fleet.status import FleetStatus
from mrcore.master.shell.assignments import Assigner
from mrcore.master.shell.call_service import CallService, add_call_service
from mrcore.master.shell.committer import Committer
from mrcore.master.shell.job_notes import JobNotes
from mrcore.master.shell.job_service import JobService
from mrcore.master.shell.leader import Cluster
from mrcore.master.shell.loop import Shell
from mrcore.master.shell.masters import Masters
from mrcore.master.shell.objects import Objects
from mrcore.master.shell.onlookers import Onlookers
from mrcore.master.shell.plans import Plans, load_plans
from mrcore.master.shell.roster import Roster
from mrcore.master.shell.sessions import Sessions
from mrcore.master.shell.submissions import Submissions
from mrcore.master.shell.sweep import Sweep
from mrcore.master.shell.token_service import TokenService
from mrcore.master.shell.tokens import Tokens
from mrcore.master.shell.worker_service import WorkerService
from mrcore.rpc.cluster import Leader
from mrcore.rpc.server import RpcServer
from mrcore.rpc.v1 import (
    job_service_pb2_grpc,
    token_service_pb2_grpc,
    worker_service_pb2_grpc,
)
from mrcore.storage.base import Storage
from mrcore.util.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable

    from mrcore.master.fleet.controller import Fleet


@dataclass(frozen=True, slots=True)
class Site:
    """Surroundings that all parts of a master share."""

    storage: Storage
    state_uri: str
    rng: SystemRandom
    tokens: Tokens
    starting: Callable[[str], None]
    """Receiver of the steps of a start that may take long."""
    expect_slots: int = 0
    """Least number of slots to plan jobs for."""
    session_seconds: float = 60.0
    """Time without a watch after which a session is ended, unless it is kept."""
    kept_seconds: float = 30 * 86_400.0
    """Time for which plans, logs and plugins of ended jobs are kept."""
    fleet: FleetOptions | None = None
    metrics: str = ""
    """HOST:PORT of the metrics; empty: no metrics."""


class Assembly:
    """A leader: its machine in a shell, the services, and the tasks that run beside them."""

    def __init__(
        self, site: Site, group: asyncio.TaskGroup, server: RpcServer, shell: Shell
    ) -> None:
        self._site = site
        self._group = group
        self._server = server
        self.shell = shell
        self.fleet: Fleet | None = None

    async def begin(
        self, cluster: Cluster, leader: Leader, plans: Plans, roster: Roster, stop: asyncio.Event
    ) -> None:
        """Put the parts together, and start their tasks; `stop` is what ends the master."""
        site, group, shell = self._site, self._group, self.shell
        lost = await asyncio.to_thread(load_plans, shell.machine, plans, site.starting)
        submissions = Submissions(
            shell,
            plans,
            storage=site.storage,
            state_uri=site.state_uri,
            address=leader.address,
            expected_slots=site.expect_slots,
            has_fleet=site.fleet is not None,
            clock=SYSTEM,
            rng=site.rng,
        )
        fleet = self._keep_fleet(submissions, stop)
        notes: JobNotes = {}
        onlookers = Onlookers(SYSTEM)
        objects = Objects(site.storage, site.state_uri, SYSTEM)
        assigner = Assigner(shell.machine, plans, cluster.cluster_id, site.state_uri)
        masters = Masters(shell, roster, leader, self._server, SYSTEM)
        group.create_task(masters.run())
        self._add_services(
            JobService(
                shell,
                submissions,
                assigner=assigner,
                fleet=fleet,
                masters=masters,
                notes=notes,
                onlookers=onlookers,
                draining=self._server.draining,
                group=group,
                storage=site.storage,
                state_uri=site.state_uri,
                clock=SYSTEM,
            ),
            WorkerService(shell, assigner, cluster, onlookers),
        )
        sessions = Sessions(shell, SYSTEM, site.rng, site.session_seconds)
        group.create_task(sessions.run())
        calls = CallService(shell, sessions, objects, fleet, self._server.draining)
        add_call_service(self._server, calls)
        self._sweep(submissions, objects)
        committer = Committer(
            shell.machine,
            plans,
            SYSTEM,
            planner=submissions.plan,
            notes=notes,
            objects=objects,
            cost_of=fleet.cost,
        )
        group.create_task(shell.run(committer))
        for event in lost:
            await shell.send(event)

    def _add_services(self, jobs: JobService, workers: WorkerService) -> None:
        server = self._server.grpc_server
        job_service_pb2_grpc.add_JobServiceServicer_to_server(jobs, server)
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(workers, server)
        tokens = TokenService(self._site.tokens)
        token_service_pb2_grpc.add_TokenServiceServicer_to_server(tokens, server)

    def _sweep(self, submissions: Submissions, objects: Objects) -> None:
        sweep = Sweep(
            self.shell,
            submissions,
            objects,
            storage=self._site.storage,
            state_uri=self._site.state_uri,
            clock=SYSTEM,
            kept_seconds=self._site.kept_seconds,
        )
        self._group.create_task(sweep.run())

    def _keep_fleet(self, submissions: Submissions, stop: asyncio.Event) -> FleetStatus:
        """Begin to keep the fleet that the options name; return where it is shown."""
        options = self._site.fleet
        if options is None:
            return FleetStatus()
        # Loaded where there is a fleet, so that a small job on one machine starts fast.
        from mrcore.cost.prices import load_prices
        from mrcore.master.fleet.compute import ComputeCloud
        from mrcore.master.fleet.controller import Fleet

        self.fleet = Fleet(
            self.shell,
            ComputeCloud(options.target),
            options.target,
            options.bounds,
            prices=load_prices(options.prices),
            storage=self._site.storage,
            state_uri=self._site.state_uri,
            clock=SYSTEM,
            busy=lambda: submissions.under_way,
            expect=submissions.expect,
            end=stop.set,
        )
        self._group.create_task(self.fleet.run())
        return self.fleet.status

    async def retire_fleet(self) -> None:
        """Let the fleet end what it has to."""
        if self.fleet is not None:
            await self.fleet.shut_down()
            self.fleet.close()
