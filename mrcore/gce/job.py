"""Facts on a job that the runner needs before it makes VMs.

Reads the names of the inputs, loads the plugin once in a child process, and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mrcore.client.request import (
    Draft,
    JobRequest,
    is_local,
    load_plugin,
    local_places,
    prepare,
)
from mrcore.errors import MrcoreError, UsageError
from mrcore.gce.record import check_outputs
from mrcore.model import object_names
from mrcore.model.job import Input, JobDraft, JobSpec
from mrcore.model.stages import Stage, stages_of
from mrcore.output import claim
from mrcore.records.inputs import InputFile, expand
from mrcore.tasks.plan import limited


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it was typed."""

    request: JobRequest
    words: tuple[str, ...]
    """Words of `mrcore run` that ask for it."""


@dataclass(slots=True)
class JobFacts:
    """Facts on a job, and its faults."""

    errors: list[str] = field(default_factory=list)
    """One sentence each."""
    tracebacks: list[str] = field(default_factory=list)
    """Tracebacks of the user's own code."""
    output: str = ""
    inputs: tuple[str, ...] = ()
    """Common prefix of the names of all files of each input."""
    written: tuple[str, ...] = ()
    temporaries: tuple[str, ...] = ()
    reduces: int | None = None
    """Number that was asked for; None: left to the master."""
    stages: tuple[Stage, ...] = ()
    """Stages of the job, once its plugin could be loaded."""
    map_tasks: int = 0
    """Number that the job asks for; 0: left to the master."""
    total_order: bool = False
    cpus: float = 0.0
    """Number of CPUs that each task reserves."""
    files: tuple[InputFile, ...] = ()
    input_bytes: int | None = None
    """None: the inputs could not be read."""
    running: str = ""
    """Id of this job where the cluster runs it already, which is not an error."""

    def add_error(self, error: MrcoreError) -> None:
        """Add a sentence; the user's own traceback, which follows it, is kept apart."""
        sentence, _, traceback = str(error).partition("\n")
        if sentence not in self.errors:  # what is wrong with a bucket, each look at it finds
            self.errors.append(sentence)
        if traceback.strip():
            self.tracebacks.append(traceback.rstrip())


def look_at_job(request: JobRequest, home: str) -> JobFacts:
    """Return what there is to know of a job; every check is made, so that all faults are found.

    home: of the cluster that is to run it; may be empty.
    """
    facts = JobFacts()
    try:
        draft = prepare(request, look=False)
    except UsageError as error:
        facts.add_error(error)
        return facts
    _describe(facts, draft.job)
    places = local_places(draft.job)
    for fault in _faults(draft, home, places):
        facts.add_error(fault)
    job = draft.job
    try:
        job = spec = load_plugin(draft).spec
        facts.stages = stages_of(spec)
        _describe(facts, spec)
    except MrcoreError as error:
        facts.add_error(error)
    if places:
        return facts
    for look in (_look_at_claim, _look_at_inputs):
        try:
            look(facts, job, home)
        except MrcoreError as error:
            facts.add_error(error)
    return facts


def _describe(facts: JobFacts, spec: JobDraft) -> None:
    facts.output = object_names.shown(spec.output_uri)
    # A place of this machine is a fault of its own, and no bucket to give rights on.
    facts.inputs = tuple(_start(given) for given in spec.inputs if not is_local(given.uri))
    if not is_local(spec.output_uri):
        facts.written = (f"{spec.output_uri}/",)
    if spec.temp_uri is not None and not is_local(spec.temp_uri):
        facts.temporaries = (f"{spec.temp_uri}/",)
    facts.reduces = spec.reduces or None
    facts.map_tasks, facts.total_order = spec.map_tasks, spec.total_order
    facts.cpus = spec.resources.cpus


def _faults(draft: Draft, home: str, places: list[str]) -> Iterator[MrcoreError]:
    spec = draft.job
    if home:
        try:
            check_outputs(home, filter(None, (spec.output_uri, spec.temp_uri)))
        except UsageError as error:
            yield error
    if places:
        first, *others = dict.fromkeys(places)
        which = f"{first} and {len(others):,} more are files" if others else f"{first} is a file"
        yield UsageError(
            f"{which} of this machine, which the VMs do not see. Copy inputs to a bucket "
            "(`gcloud storage cp -r`), and use gs://BUCKET/FOLDER for output and --temp."
        )


def _start(given: Input) -> str:
    """Return how the names of all files of an input begin: a pattern up to its first wildcard."""
    pattern = given.uri[len(given.base_uri) :]
    return given.base_uri + re.split(r"[*?[]", pattern, maxsplit=1)[0]


def _look_at_inputs(facts: JobFacts, spec: JobDraft, home: str) -> None:
    del home
    if spec.after:
        return  # what other jobs have yet to write cannot be measured
    groups = spec.plugin.groups if isinstance(spec, JobSpec) else ()
    files = expand(spec.inputs, spec.input_format, groups=groups, skip_output=spec.output_uri)
    read, facts.input_bytes = limited(files, spec.limit)
    facts.files = tuple(read)


def _look_at_claim(facts: JobFacts, spec: JobDraft, home: str) -> None:
    """Find the job of this very cluster that holds the output; raise UsageError for any other."""
    held = claim.read_claim(spec.output_uri)
    if held is not None and home and held.state_uri == f"{home}/state":
        facts.running = held.job_id
        return
    claim.check_output(spec)
    if held is not None and not claim.is_free(held):
        where = object_names.shown(spec.output_uri)
        raise UsageError(
            f"The output {where} is claimed by job {held.job_id} of {held.state_uri}. Wait for it, "
            f"or free it with `mrcore gc {where} --release` if that cluster is gone."
        )
