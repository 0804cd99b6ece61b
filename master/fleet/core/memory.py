"""Memory of the fleet, brought up to what one look has seen. Pure."""

from __future__ import annotations

from mrcore.master.fleet.core.model import CapacityState, FleetSnapshot, Memory, Provisioning


def remember(snapshot: FleetSnapshot, memory: Memory, now: float) -> None:
    """Change the memory to include what is seen at `now`."""
    # A new master has not begun yet: it waits for the workers of machines that it finds.
    # (test: test_a_new_master_gives_the_workers_it_finds_time_to_come)
    memory.began_seconds = memory.began_seconds or now
    asked = sum(group.target_size for group in snapshot.groups.values())
    # A preempted machine is replaced also before the first job.
    # (test: test_the_size_that_was_found_outlives_a_preemption)
    memory.adopted = max(memory.adopted, asked)
    if snapshot.jobs:
        memory.worked = True
    # A commit or a clean-up may outlive the last job: it keeps the cluster.
    # (test: test_whatever_goes_on_keeps_the_cluster)
    if snapshot.jobs or snapshot.busy:
        memory.idle_seconds = None
    # The second look without a job does not begin the idle time anew.
    # (test: test_an_idle_cluster_deletes_its_groups_and_then_itself)
    elif memory.idle_seconds is None:
        memory.idle_seconds = now
    for model in Provisioning:
        memory.capacity.setdefault(model, CapacityState(newest_error_seconds=memory.began_seconds))
    _remember_workers(snapshot, memory, now)
    _forget(snapshot, memory, now)


def _remember_workers(snapshot: FleetSnapshot, memory: Memory, now: float) -> None:
    for info in snapshot.workers:
        memory.last_seen[info.machine] = now
        # A worker that gets work, and is free again later, has to linger anew. One that stays
        # free has not. (test: test_idle_workers_are_released_while_a_straggler_runs)
        if info.held:
            memory.free.pop(info.machine, None)
        else:
            memory.free.setdefault(info.machine, now)
        # A worker may finish its tasks for many looks before it goes.
        # (test: test_a_worker_that_leaves_is_remembered_once)
        if info.draining and info.machine not in memory.leaving:
            memory.leaving.append(info.machine)


def _forget(snapshot: FleetSnapshot, memory: Memory, now: float) -> None:
    names = {member.name for group in snapshot.groups.values() for member in group.members}
    workers = {info.machine for info in snapshot.workers}
    # A worker that people have started elsewhere does not prove that machines of the groups boot.
    # (test: test_only_a_worker_of_the_groups_forgives_failed_joins)
    if workers & names:
        memory.failed_joins = 0
    # A worker may be silent for a while, and is not known to be free meanwhile.
    # (test: test_a_worker_that_was_away_lingers_anew)
    memory.free = {name: at for name, at in memory.free.items() if name in workers}
    # Machines come and go for weeks, and the memory is stored with each decision.
    # (test: test_machines_that_are_gone_are_forgotten)
    memory.last_seen = {name: at for name, at in memory.last_seen.items() if name in names}
    memory.draining = [name for name in memory.draining if name in names]
    memory.leaving = [name for name in memory.leaving if name in names]
    memory.deleted = {name: why for name, why in memory.deleted.items() if name in names}
    # Events of an hour ago would hide what is wrong now.
    # (test: test_a_notice_is_shown_until_its_time_is_over)
    memory.notices = {text: until for text, until in memory.notices.items() if now < until}
