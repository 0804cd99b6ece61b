"""A bound for every queue and map of the machine, and every length of time that it decides by."""

from __future__ import annotations

from dataclasses import dataclass

from mrcore.plugin.context import MAX_COUNTERS, MAX_COUNTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what the machine holds, and its patience; times are seconds."""

    # Leases and parking.
    lease_seconds: float = 10.0
    """Lease of a worker without attempts. Attempts use their job's lease."""
    parks_per_lease: int = 3
    """A parked request is answered after a lease divided by this, at the latest."""
    sync_max_seconds: float = 10.0
    """However long the lease: progress is for people to see, and stragglers are found by it."""

    # Budgets of one task.
    infrastructure_max: int = 8
    """Failures of storage or machine."""
    expiries_max: int = 50
    """Attempts that vanished with their worker: generous, since spot machines do that."""
    losses_max: int = 8
    """Accepted outputs that could not be read later."""
    reads_max: int = 4
    """Failed reads of one winner on one worker that are counted."""

    # Retries.
    retry_base_seconds: float = 0.25
    retry_cap_seconds: float = 10.0
    avoid_seconds: float = 10.0
    """A task keeps away from the worker where it failed for this time, if others live."""
    strikes_max: int = 2
    """After this many failures of a task on one worker it is tried on other able workers first,
    however long they are busy: their number decides how often one worker counts."""
    blames_max: int = 3
    """Tasks that failed here and succeeded elsewhere before a worker is left alone for a while."""
    blame_seconds: float = 60.0

    # Stragglers.
    backup_floor_seconds: float = 15.0
    backup_factor: float = 2.0
    """A backup task not before this many medians of the completed ones."""
    review_seconds: float = 1.0
    """Interval at which idle workers make the machine look for stragglers."""
    stall_seconds: float = 60.0
    """Time for which tasks may be queued beside idle workers before the log says why."""
    steal_floor_seconds: float = 1.0
    """An attempt that waits behind others for less is not taken back for an idle worker."""
    mismatch_seconds: float = 10.0
    """Time after which a job fails if every worker has other versions than it needs."""

    # Prefetch: attempts that wait in a worker beyond its slots.
    prefetch_seconds: float = 0.2
    """Enough work to bridge a round trip, a flush and a poll."""
    prefetch_slow_seconds: float = 1.0
    """Tasks with a longer median are not sent ahead."""
    prefetch_per_slot_max: int = 256
    prefetch_per_worker_max: int = 512

    # Sizes.
    slots_max: int = 1024
    """Slots of one worker; it gets no work for more."""
    workers_max: int = 10_000
    """Requests of further workers are answered with nothing."""
    live_jobs_max: int = 1_000
    """Checked before a claim is taken (`room.has_room`)."""
    live_tasks_max: int = 500_000
    """Tasks of all live jobs; checked at the same place."""
    calls_max: int = 500_000
    """Calls of all sessions that are not released; checked when calls are added."""
    session_calls_max: int = 1_000_000
    """Calls of one session, released ones included: each keeps a place in a list."""
    calls_bytes_max: int = 1 << 30
    """Memory of the arguments and values of all calls, as `durable_calls` weighs it; from half of
    it on values are objects (`room.is_short`)."""
    session_bytes_max: int = 512 * 2**20
    """Memory of the arguments and values of the calls of one session."""
    calls_started_max: int = 100_000
    """Calls of a session that have begun, until its client gets their numbers."""
    live_sections_max: int = 40_000_000
    """Sections of runs, maps times reduces, of all live jobs: 36 bytes each once they are won."""
    ended_jobs_max: int = 1_000
    """The newest are remembered."""
    ended_tasks_max: int = 100_000
    """Tasks of all ended jobs that are remembered; the oldest jobs go first."""
    ended_bytes_max: int = 256 * 2**20
    """Memory of all ended jobs, as `ended` weighs it; the oldest jobs go first."""
    ended_job_bytes_max: int = 32 * 2**20
    """Memory of one ended job; of a larger one sums and results are kept, and no attempts."""
    ended_inputs_max: int = 100
    """Inputs that are kept of an ended job: as many as are shown."""
    ended_failed_max: int = 8
    """Failed attempts that are kept of each task of an ended job: the newest."""
    counters_max: int = MAX_COUNTERS
    """Names of counters in one job."""
    counts_max: int = MAX_COUNTS
    """Counters of one job, summed over its tasks."""
    result_bytes_max: int = 64 * 2**20
    """Bytes of the results of one job's tasks that lie in their reports. They are kept when the job
    has ended, until it is forgotten as a whole."""
    block_bytes_max: int = 256 * 2**20
    """Memory of the first keys of all blocks of one job in total order."""
    story_lines: int = 50
    """The newest lines that are kept of each task."""
    ended_stories_max: int = 8
    """Jobs whose tasks' stories are kept after their end: the newest."""
    ended_story_tasks_max: int = 100_000
    """Tasks of these jobs together; the oldest jobs go first."""
    ended_story_lines_max: int = 200_000
    """Lines of these stories together; the oldest jobs go first."""
    recent_failures_max: int = 8
    """The newest failures that are kept of each job."""
    last_failures_max: int = 64
    """Tasks of a job whose last failure is kept with its traceback: the newest."""
    culprits_max: int = 1_000
    """Records of one task at which attempts failed, and errors that they raised: the newest."""
    failed_attempts_max: int = 64
    """Per task: numbers of failed attempts, so that a repeated report is not counted twice."""
    scan_max: int = 64
    """Queue entries looked at for one assignment when tasks avoid the worker."""
    void_entries_max: int = 10_000
    """Void entries of a heap of tasks, back-offs or timers, beyond one an entry in use."""
    avoided_max: int = 64
    """Workers that one task keeps away from, and those it suspects: the newest."""
