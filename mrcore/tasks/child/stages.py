"""Tasks of stages in a child, and the plugins that it has loaded for them."""

from __future__ import annotations

import gc
import json
from pathlib import Path

from mrcore.errors import NotFoundError, PluginError, StorageError
from mrcore.model import object_names
from mrcore.model.task import FailureKind, TaskFailure, TaskResult, TaskSpec
from mrcore.plugin.functions import UserFunctions
from mrcore.plugin.loader import is_unpacked, load_bundle, load_unpacked
from mrcore.storage.registry import storage_for
from mrcore.tasks.child.protocol import JobFile
from mrcore.tasks.fingerprints import fingerprint
from mrcore.tasks.progress import ProgressSink
from mrcore.tasks.run import GC_THRESHOLDS, run_task
from mrcore.tasks.setup import Setup


class Stages:
    """Runner of tasks of stages, with plugins below `plugins`, and temporary files below `work`."""

    def __init__(self, plugins: Path, work: Path) -> None:
        self._plugins = plugins
        self._work = work
        self._functions: dict[str, UserFunctions | TaskFailure] = {}
        self._setups: dict[str, Setup] = {}

    def run(self, spec: TaskSpec, job: JobFile, progress: ProgressSink) -> TaskResult:
        """Run one attempt of a stage's task."""
        job_id = spec.attempt.task.job_id
        functions = self._load(job_id, job)
        if isinstance(functions, TaskFailure):
            return functions
        # Between tasks, too: each change to lower ones makes the next object start a collection.
        gc.set_threshold(*GC_THRESHOLDS)
        setup = self._setups.get(job_id)
        if setup is None:
            setup = self._setups[job_id] = Setup(functions, spec.job.params)
        return run_task(spec, functions, self._work, progress, setup=setup)

    def is_spoiled(self, job_id: str) -> bool:
        """Return whether this process is unfit for another task of a job, once one has failed.

        A Counter that `map_finish` would have emitted is still there after a failure, and the next
        task would emit it as well. And what has kept the plugin from its start may lie in this
        process alone: a module that is half imported, or a device that is in use.
        """
        functions = self._functions.get(job_id)
        if isinstance(functions, TaskFailure):
            return True
        if functions is None:
            return False
        setup = self._setups.get(job_id)
        return functions.keeps_state or (setup is not None and not setup.done)

    def _load(self, job_id: str, job: JobFile) -> UserFunctions | TaskFailure:
        """Return the job's functions, which are loaded once; a plugin's fault is kept too."""
        known = self._functions.get(job_id)
        if known is None:
            if job.spec.output_uri:
                _check_claim(job, job_id)
            try:
                known = _load_plugin(job, self._plugins)
            except PluginError as error:
                sentence, _, trace = str(error).partition("\n")
                known = TaskFailure(
                    kind=FailureKind.USER,
                    message=sentence,
                    traceback=trace,
                    fingerprint=fingerprint(error),
                )
            self._functions[job_id] = known
        return known


def _load_plugin(job: JobFile, folder: Path) -> UserFunctions:
    sha256 = job.spec.plugin.sha256
    if is_unpacked(folder / sha256):  # by another child, which has checked it
        return load_unpacked(folder / sha256)
    uri = object_names.plugin_uri(job.state_uri, sha256)
    return load_bundle(storage_for(uri).read(uri), folder, sha256)


def _check_claim(job: JobFile, job_id: str) -> None:
    """Make sure that this worker sees the output that the job has claimed."""
    uri = object_names.claim_uri(job.spec.output_uri)
    try:
        claim = json.loads(storage_for(uri).read(uri))
        seen = isinstance(claim, dict) and claim.get("job_id") == job_id
    except (NotFoundError, ValueError):
        seen = False
    if not seen:
        raise StorageError(
            f"this worker does not see the output {job.spec.output_uri} of job {job_id} (its claim "
            f"{uri} is not there): use a store that every machine reaches, such as a bucket"
        )
