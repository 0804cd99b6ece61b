"""Words of scenario files for sessions and their calls: events, facts, and what is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from mrcore.master.core.durable_calls import output_of
from mrcore.master.core.events import (
    CallsDone,
    CallsSent,
    CallsUnwanted,
    CloseAsked,
    Event,
    Submitted,
)
from mrcore.master.core.facts import CallFailed, CallsAdded, CallsCancelled, CallsReleased
from mrcore.master.core.machine import Machine
from mrcore.model.calls import CALL_STAGE, CallPlan
from mrcore.model.ids import TaskId
from mrcore.model.job import ANY_WORKER, Session
from mrcore.model.resources import parse_resources
from mrcore.model.stages import Calls, Result, StagePlan
from tests.support.specs import NO_VERSIONS, call_spec

CallFact = CallsAdded | CallFailed | CallsCancelled | CallsReleased
STAGES = (StagePlan(0, Calls(), Result()),)


def opened(name: str, options: dict[str, str], wall_seconds: float) -> Submitted:
    """Return the event that opens a session."""
    needs = parse_resources(options["needs"]) if "needs" in options else ANY_WORKER
    spec = call_spec(
        name,
        Session(retries=int(options.get("retries", 0))),
        max_attempts=int(options.get("attempts", 4)),
        priority=int(options.get("priority", 0)),
        resources=needs,
        versions=replace(NO_VERSIONS, python=options.get("python", "")),
    )
    return Submitted(
        job_id=name,
        request_id=options.get("request", name),
        spec=spec,
        stages=STAGES,
        claim_generation="",
        wall_seconds=wall_seconds,
    )


def event_of_client(verb: str, session_id: str, words: Sequence[str]) -> Event | None:
    """Return what a client of a session wants; None where the verb is not one of a client."""
    match verb:
        case "calls":
            plans = tuple(_parse_call(session_id, word) for word in words[1:])
            return CallsSent(session_id, int(words[0]), plans)
        case "release":
            return CallsDone(session_id, tuple(map(int, words)))
        case "unwanted":
            return CallsUnwanted(session_id, tuple(map(int, words)))
        case "close":
            return CloseAsked(session_id, " ".join(words))
        case _:
            return None


def _parse_call(session_id: str, word: str) -> CallPlan:
    """Return the call that a word means: `.`, or `<` and the calls whose values it takes."""
    needs = []
    for need in word[1:].split("+") if word.startswith("<") else ():
        other, _, index = need.rpartition("/")
        needs.append(TaskId(other or session_id, CALL_STAGE, int(index)))
    return CallPlan("0" * 64, needs=tuple(needs))


def show_call_fact(fact: CallFact) -> str:
    """Return a fact about calls as one line."""
    match fact:
        case CallsAdded():
            last = fact.first + len(fact.calls) - 1
            return f"CallsAdded {fact.job_id} {fact.first} to {last}"
        case CallFailed():
            attempt = "" if fact.attempt is None else f"@{fact.attempt}"
            name = f"call-{fact.task.index:05d}{attempt}"
            return f"CallFailed {fact.task.job_id}/{name}: {fact.failure.message}"
        case CallsCancelled() | CallsReleased():
            numbers = " ".join(map(str, fact.indexes))
            return f"{type(fact).__name__} {fact.job_id} {numbers}"


def show_calls(machine: Machine, session_id: str) -> Iterator[str]:
    """Yield what is known of each call of a session, and of the calls that have begun."""
    record = machine.cluster.job(session_id)
    assert record is not None
    assert record.calls is not None
    calls = record.calls
    for index in range(calls.added):
        task_id = TaskId(session_id, CALL_STAGE, index)
        output = output_of(machine.cluster.durable.jobs, task_id)
        ended = calls.ended.get(index)
        kept = "" if index in calls.ended else ", released"
        if index in calls.plans:
            waits = task_id in machine.calls.missing
            busy = machine.cluster.jobs[session_id].task(task_id).attempts
            state = "waits for values" if waits else "with a worker" if busy else "queued"
        elif output is not None:
            where = f"in {output.object.uri}" if output.object else output.result.decode()
            state = f"value {where}{kept}"
        elif ended is not None:
            state = f"failed: {ended.failure.message}"
        else:
            state = "released"
        yield f"call-{index:05d} {state}"
    ends = f"{calls.failed} failed, {calls.cancelled} cancelled"
    yield f"{record.state}{', closed' if calls.closed else ''}; {ends}"
    begun = " ".join(map(str, machine.calls.take_started(session_id)))
    yield f"begun: {begun or 'none since the last look'}"
