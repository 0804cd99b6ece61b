"""The name of every object that mrcore writes, in one place.

    STATE/cluster.json                 cluster id, drawn when the state is made; create-only
    STATE/leader.json                  epoch, address, fingerprint: who is the master
    STATE/tokens/<role>.json           token and client certificate of users, and those of workers
    STATE/tokens/issued.json           hashes of the tokens that were given by name
    STATE/masters/<id>                 a master that leads or stands by, with its signs of life
    STATE/tls.json                     key and certificate of masters started with --tls
    STATE/fleet.json                   what the fleet has cost, and what its master must remember
    STATE/lock                         on files: flocked while a master lives
    STATE/journal/00000000000000000001 one group of facts each; create-only
    STATE/snapshots/00000000000000000001 the state after the entry of this number; create-only
    STATE/packs/000…0017-000…0032      copies of the entries from 17 to 32, for quick starts
    STATE/plugins/<sha256>             the users' code
    STATE/jobs/<job>/plan              the splits of a job
    STATE/jobs/<job>/remains           what the tasks of a job came to that failed or was cancelled
    STATE/logs/<job>/map-00000@1.7.log what user code printed, one object an attempt
    STATE/logs/<job>/….log.partial     what a running attempt has printed so far, if it is followed
    STATE/objects/<sha256>             functions and long arguments of calls, scattered values, and
                                       the items of in-memory jobs
    STATE/results/<job>/call-00000@1.7 the value of a call, or the result of a task, if it is long
    STATE/temp/<job>/runs/…            runs of jobs without an output

    OUT/_claim                         which job writes here
    OUT/_commit                        what a commit in progress publishes and replaces
    OUT/part-00000[.ext]  OUT/_SUCCESS the result and its receipt
    OUT/_bad/map-00000.jsonl           bad records that were skipped
    OUT/_tmp/<job>/staged/…            output and long lists of bad records of attempts, until the
                                       job commits
    TEMP/<job>/runs/…                  runs; TEMP is OUT/_tmp by default, and STATE/temp for a job
                                       without an output

Names that sort next to each other contend in an object store, so runs start with a short hash.
"""

from __future__ import annotations

import zlib

import msgspec

from mrcore.model.formats import OUTPUT_FORMATS
from mrcore.model.ids import AttemptId
from mrcore.model.job import Compression, JobSpec
from mrcore.model.stages import stage_name, task_name
from mrcore.storage import registry

CLAIM = "_claim"
COMMIT = "_commit"
SUCCESS = "_SUCCESS"
PARTIAL = ".partial"


def shown(uri: str) -> str:
    """Return a URI as a person would type it: a file as its plain path."""
    return registry.shown(uri)


def cluster_uri(state_uri: str) -> str:
    """Return where the cluster's id lies."""
    return f"{state_uri}/cluster.json"


def leader_uri(state_uri: str) -> str:
    """Return where the master says who and where it is."""
    return f"{state_uri}/leader.json"


def token_uri(state_uri: str, role: str) -> str:
    """Return where the cluster's own token of a role lies."""
    return f"{state_uri}/tokens/{role}.json"


def issued_tokens_uri(state_uri: str) -> str:
    """Return where the hashes of tokens lie that were given by name."""
    return f"{state_uri}/tokens/issued.json"


def masters_prefix(state_uri: str) -> str:
    """Return the prefix of the records of all masters."""
    return f"{state_uri}/masters/"


def master_uri(state_uri: str, master_id: str) -> str:
    """Return where a master reports that it lives, and how far it has read the journal."""
    return f"{masters_prefix(state_uri)}{master_id}"


def tls_uri(state_uri: str) -> str:
    """Return where the private key and the certificate of a master with `--tls` lie."""
    return f"{state_uri}/tls.json"


def fleet_uri(state_uri: str) -> str:
    """Return where a master with a fleet keeps its books."""
    return f"{state_uri}/fleet.json"


def lock_uri(state_uri: str) -> str:
    """Return the file that a master on file storage holds locked."""
    return f"{state_uri}/lock"


def journal_prefix(state_uri: str) -> str:
    """Return the prefix of all journal entries."""
    return f"{state_uri}/journal/"


def journal_uri(state_uri: str, number: int) -> str:
    """Return the name of journal entry `number`, which counts from 1."""
    return f"{journal_prefix(state_uri)}{number:020d}"


def snapshots_prefix(state_uri: str) -> str:
    """Return the prefix of all snapshots."""
    return f"{state_uri}/snapshots/"


def snapshot_uri(state_uri: str, number: int) -> str:
    """Return the name of the snapshot of the state after journal entry `number`."""
    return f"{snapshots_prefix(state_uri)}{number:020d}"


def packs_prefix(state_uri: str) -> str:
    """Return the prefix of all packs of journal entries."""
    return f"{state_uri}/packs/"


def pack_uri(state_uri: str, first: int, last: int) -> str:
    """Return the name of the pack of the journal entries from `first` to `last`."""
    return f"{packs_prefix(state_uri)}{first:020d}-{last:020d}"


def plugins_prefix(state_uri: str) -> str:
    """Return the prefix of all plugin bundles."""
    return f"{state_uri}/plugins/"


def plugin_uri(state_uri: str, sha256: str) -> str:
    """Return where the plugin bundle with this digest lies."""
    return f"{plugins_prefix(state_uri)}{sha256}"


def plans_prefix(state_uri: str) -> str:
    """Return the prefix of the plans of all jobs."""
    return f"{state_uri}/jobs/"


def plan_uri(state_uri: str, job_id: str) -> str:
    """Return where the splits of a job lie."""
    return f"{plans_prefix(state_uri)}{job_id}/plan"


def remains_uri(state_uri: str, job_id: str) -> str:
    """Return where the accepted results of a job that failed or was cancelled are listed."""
    return f"{plans_prefix(state_uri)}{job_id}/remains"


def logs_prefix(state_uri: str) -> str:
    """Return the prefix of the logs of all jobs."""
    return f"{state_uri}/logs/"


def log_prefix(state_uri: str, job_id: str) -> str:
    """Return the prefix of all logs of a job."""
    return f"{logs_prefix(state_uri)}{job_id}/"


def objects_prefix(state_uri: str) -> str:
    """Return the prefix of the objects that clients have stored for calls."""
    return f"{state_uri}/objects/"


def object_uri(state_uri: str, sha256: str) -> str:
    """Return where the object with this digest lies, which a client has stored for calls."""
    return f"{objects_prefix(state_uri)}{sha256}"


def results_prefix(state_uri: str) -> str:
    """Return the prefix of the long values of calls, and of the results of jobs."""
    return f"{state_uri}/results/"


def session_results_prefix(state_uri: str, session_id: str) -> str:
    """Return the prefix of the long values of the calls of a session."""
    return f"{results_prefix(state_uri)}{session_id}/"


def result_uri(state_uri: str, spec: JobSpec, attempt: AttemptId) -> str:
    """Return where an attempt writes the long value of its call, or the result of its task."""
    name = attempt_name(stage_name(spec, attempt.task.stage), attempt)
    return f"{session_results_prefix(state_uri, attempt.task.job_id)}{name}"


def attempt_name(stage: str, attempt: AttemptId) -> str:
    """Return the name of an attempt within its job, such as `map-00003@5.2`."""
    return f"{task_name(stage, attempt.task.index)}@{attempt.number}"


def log_uri(state_uri: str, spec: JobSpec, attempt: AttemptId) -> str:
    """Return where the log of an attempt lies."""
    name = attempt_name(stage_name(spec, attempt.task.stage), attempt)
    return f"{log_prefix(state_uri, attempt.task.job_id)}{name}.log"


def partial_log_uri(state_uri: str, spec: JobSpec, attempt: AttemptId) -> str:
    """Return where the output of a running attempt lies while somebody follows it."""
    return f"{log_uri(state_uri, spec, attempt)}{PARTIAL}"


def state_temp_uri(state_uri: str) -> str:
    """Return the folder of the temporaries of jobs that have no output."""
    return f"{state_uri}/temp"


def with_temp(spec: JobSpec, state_uri: str) -> JobSpec:
    """Return the job with a place for its runs, where it has neither an output nor `temp_uri`."""
    if spec.output_uri or spec.temp_uri is not None:
        return spec
    return msgspec.structs.replace(spec, temp_uri=state_temp_uri(state_uri))


def claim_uri(output_uri: str) -> str:
    """Return the object that says which job writes to this output."""
    return f"{output_uri}/{CLAIM}"


def success_uri(output_uri: str) -> str:
    """Return where the receipt lies."""
    return f"{output_uri}/{SUCCESS}"


def staging_prefix(spec: JobSpec, job_id: str) -> str:
    """Return the prefix of everything a job stages below its output."""
    return f"{spec.output_uri}/_tmp/{job_id}/"


def temp_prefix(spec: JobSpec, job_id: str) -> str:
    """Return the prefix of the job's runs and other temporaries."""
    base = spec.temp_uri if spec.temp_uri is not None else f"{spec.output_uri}/_tmp"
    return f"{base}/{job_id}/"


def part_name(index: int, output_format: str, compression: Compression) -> str:
    """Return the name of part `index`: `part-00000`, with an extension where tools expect one."""
    found = OUTPUT_FORMATS[output_format]
    extension = found.extension
    if compression is not Compression.NONE and not found.compresses_inside:
        extension += f".{compression}"
    return f"part-{index:05d}{extension}"


def staged_part_uri(spec: JobSpec, attempt: AttemptId) -> str:
    """Return where an attempt writes its part, before anybody has accepted it."""
    name = part_name(attempt.task.index, spec.output_format, spec.compression)
    return f"{staging_prefix(spec, attempt.task.job_id)}staged/{attempt.number}-{name}"


def staged_partition_uri(spec: JobSpec, attempt: AttemptId, number: int) -> str:
    """Return where an attempt writes file `number` of its partitioned part."""
    return f"{staged_part_uri(spec, attempt)}-{number:05d}"


def staged_bad_records_uri(spec: JobSpec, attempt: AttemptId) -> str:
    """Return where an attempt writes the records that it has skipped, where they are many."""
    name = f"bad-{attempt_name(stage_name(spec, attempt.task.stage), attempt)}.jsonl"
    return staged_object_uri(spec, attempt.task.job_id, name)


def staged_object_uri(spec: JobSpec, job_id: str, name: str) -> str:
    """Return where an object of the commit (the receipt, say) is staged before publishing."""
    return f"{staging_prefix(spec, job_id)}staged/{name}"


def run_uri(spec: JobSpec, attempt: AttemptId) -> str:
    """Return where an attempt writes its run."""
    task = attempt.task
    name = attempt_name(stage_name(spec, task.stage), attempt)
    shard = zlib.crc32(f"{task.index}".encode()) & 0xFFF
    name = f"{shard:03x}-{name}.run"
    return f"{temp_prefix(spec, task.job_id)}runs/{name}"


def commit_uri(output_uri: str) -> str:
    """Return the object that lists the names of a commit in progress."""
    return f"{output_uri}/{COMMIT}"


def bad_records_prefix(output_uri: str) -> str:
    """Return the prefix of all skipped records of a job."""
    return f"{output_uri}/_bad/"


def bad_records_uri(output_uri: str, task: str) -> str:
    """Return where the skipped records of a task are saved, given its name."""
    return f"{bad_records_prefix(output_uri)}{task}.jsonl"
