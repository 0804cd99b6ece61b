"""Checks of the places that a job names: stores, and folders that are not the master's own."""

from __future__ import annotations

from mrcore.errors import OutputError, UsageError
from mrcore.model import object_names
from mrcore.model.job import JobSpec
from mrcore.storage.places import Reach
from mrcore.storage.registry import reach_of, storage_for


def check_places(spec: JobSpec, state_uri: str) -> None:
    """Raise UsageError for a URI that no store can serve, no other process, or no job; blocks."""
    for uri in (spec.output_uri, spec.temp_uri, *(given.uri for given in spec.inputs)):
        if not uri:
            continue
        storage_for(uri)
        if Reach.PROCESS is reach_of(uri) is not reach_of(state_uri):
            raise UsageError(
                f"{uri} is in the memory of one process, and workers are others. Use file:// "
                "or gs://."
            )
    state = _resolved(state_uri)
    for uri in (spec.output_uri, spec.temp_uri):
        if uri and f"{_resolved(uri)}/".startswith(f"{state}/"):
            raise OutputError(
                f"{object_names.shown(uri)} lies inside the state of the cluster, which nobody "
                "but its master may write to. Choose another place."
            )


def _resolved(uri: str) -> str:
    """Return a URI without the links on its way."""
    return storage_for(uri).resolved(uri)
