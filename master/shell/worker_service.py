"""The gRPC service for workers: thin, since the machine decides what a worker should hold."""

from __future__ import annotations

from mrcore.errors import MrcoreError
from mrcore.master.core.commands import Superseded
from mrcore.master.core.events import JobBroken
from mrcore.master.shell.assignments import Assigner
from mrcore.master.shell.calls import Context, answering, defect
from mrcore.master.shell.convert import synced_from_proto
from mrcore.master.shell.leader import Cluster
from mrcore.master.shell.loop import Shell
from mrcore.master.shell.onlookers import Onlookers
from mrcore.rpc.convert_task import attempt_to_proto
from mrcore.rpc.v1 import worker_service_pb2_grpc
from mrcore.rpc.v1.worker_service_pb2 import SynchronizeRequest, SynchronizeResponse


class WorkerService(worker_service_pb2_grpc.WorkerServiceServicer):
    """Calls of workers."""

    def __init__(
        self, shell: Shell, assigner: Assigner, cluster: Cluster, onlookers: Onlookers
    ) -> None:
        self._shell = shell
        self._onlookers = onlookers
        self._assigner = assigner
        self._cluster = cluster

    @answering
    async def Synchronize(  # noqa: N802 - named by the proto
        self, request: SynchronizeRequest, context: Context
    ) -> SynchronizeResponse:
        """Report to the machine what a worker holds; return what it should hold."""
        del context
        try:
            return await self._synchronize(request)
        except MrcoreError:
            raise
        except Exception as error:
            # The worker will report the same again: its jobs must not wait for ever.
            for job_id in {held.attempt.job_id: None for held in request.held}:
                await self._shell.send(JobBroken(job_id, str(defect(error))))
            raise

    async def _synchronize(self, request: SynchronizeRequest) -> SynchronizeResponse:
        if request.cluster_id not in ("", self._cluster.cluster_id):
            # It held work of another state: our id empties it, and then it comes again.
            return self._assigner.empty_response(request.sequence)
        event = synced_from_proto(request, self._cluster.nonce)
        answer = await self._shell.synchronize(event)
        if isinstance(answer, Superseded):
            response = self._assigner.empty_response(request.sequence)
            response.exceed_session = answer.exceed_session
            return response
        response, broken = self._assigner.response(request, event, answer)
        for one in broken:
            await self._shell.send(one)
        response.look_seconds = self._onlookers.look_seconds(
            {wanted.attempt.task.job_id for wanted in answer.wanted},
            len(self._shell.machine.cluster.workers),
        )
        followed = filter(self._onlookers.is_followed, (one.attempt for one in answer.wanted))
        response.followed.extend(map(attempt_to_proto, followed))
        return response
