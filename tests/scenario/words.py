"""Words of scenario files: attempts, results, facts and commands, parsed and shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mrcore.master.core.commands import (
    CheckWinner,
    CleanUp,
    Command,
    DeleteValues,
    PlanJob,
    PrepareCommit,
    Reply,
    RunCommit,
    StepDown,
    Superseded,
)
from mrcore.master.core.facts import (
    AttemptFailed,
    CallFailed,
    CallsAdded,
    CallsCancelled,
    CallsReleased,
    EpochTaken,
    Fact,
    JobCleaned,
    JobEnded,
    JobPlanned,
    JobSubmitted,
    ResultsKept,
    StageRevoked,
    TaskWon,
    WinnerLost,
    WorkerJoined,
    WorkersLeft,
)
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.remains import KeptResult
from mrcore.model.stages import Part, Result, Run, Runs, Splits, StagePlan, stage_names
from mrcore.model.task import (
    BadRecord,
    FailureKind,
    Mark,
    Progress,
    TaskFailure,
    TaskOutput,
    TaskRef,
    TaskResult,
)
from mrcore.storage.base import ObjectInfo
from tests.scenario.calls import show_call_fact


def parse_stages(text: str) -> tuple[StagePlan, ...]:
    """Return the stages of `TASKS,TASKS<READ+READ,...`: the last writes parts, others runs.

    A `=` after the number of tasks has the stage write results.
    """
    words = text.split(",")
    plans = []
    for number, word in enumerate(words):
        tasks, _, reads = word.partition("<")
        last = number == len(words) - 1
        plans.append(
            StagePlan(
                int(tasks.rstrip("=")),
                Runs(tuple(map(int, reads.split("+")))) if reads else Splits(),
                Result() if tasks.endswith("=") else Part() if last else Run(),
            )
        )
    return tuple(plans)


def parse_kept(text: str, stages: Sequence[StagePlan]) -> Iterator[KeptResult]:
    """Yield the results that `TASK@E.N:CONTENT,...` names, of a job that was cut short."""
    names = stage_names(plan.reads for plan in stages)
    for word in text.split(",") if text else ():
        task, number, content = re.split("[@:]", word)
        stage, _, index = task.rpartition("-")
        output = TaskOutput(digest=content.encode(), counters={"tasks": 1}, elapsed_seconds=1.0)
        attempt = AttemptNumber.parse(number)
        yield KeptResult(names.index(stage), int(index), attempt, "w1", output)


@dataclass(frozen=True, slots=True)
class Words:
    """Parses and shows what names tasks; `stages` returns the names of a job's stages."""

    stages: Callable[[str], Sequence[str]]

    def parse_attempt(self, text: str) -> tuple[AttemptId, int]:
        """Return the attempt, and which version of its inputs it read."""
        text, _, version = text.partition("!")
        task, _, number = text.partition("@")
        job_id, _, name = task.partition("/")
        run = self.parse_task(job_id, name)
        task_id = TaskId(job_id, run.stage, run.index)
        return AttemptId(task_id, AttemptNumber.parse(number)), int(version or 0)

    def parse_task(self, job_id: str, name: str) -> TaskRef:
        """Return the task that a name such as `map-0` means."""
        stage, _, index = name.rpartition("-")
        return TaskRef(list(self.stages(job_id)).index(stage), int(index))

    def shown(self, attempt: AttemptId) -> str:
        """Return an attempt as scripts write it."""
        task = attempt.task
        stage = self.stages(task.job_id)[task.stage]
        return f"{task.job_id}/{stage}-{task.index}@{attempt.number}"

    def parse_held(self, word: str) -> HeldAttempt:
        """Return what `STATE:ATTEMPT[:MORE]` says."""
        state, attempt_text, more = [*word.split(":", 2), "", ""][:3]
        attempt, version = self.parse_attempt(attempt_text)
        if state == "unstarted":
            return HeldAttempt(attempt, AttemptState.UNSTARTED, version)
        if state == "running":
            seconds = float(more or 0)
            return HeldAttempt(
                attempt, AttemptState.RUNNING, version, seconds, Progress(fraction=0.5)
            )
        result = self.parse_result(attempt.task, state, more.replace("_", " "))
        return HeldAttempt(attempt, AttemptState.FINISHED, version, result=result)

    def parse_result(self, task: TaskId, state: str, more: str) -> TaskResult:
        """Return how an attempt ended."""
        if state == "done":
            content, _, seconds = more.partition("/")
            return TaskOutput(
                digest=content.encode(),
                counters={"tasks": 1},
                elapsed_seconds=float(seconds or 1),
            )
        if state == "int" or state == "float":
            return TaskOutput(number_kinds={"": state}, elapsed_seconds=1.0)
        if state == "skipped":
            count, _, records = more.partition("/")
            bad = tuple(BadRecord("input", n, "it died", "") for n in range(int(count)))
            return TaskOutput(bad_records=bad, records_in=int(records or 0), elapsed_seconds=1.0)
        if state in ("died", "raised"):
            mark = Mark("input", int(more)) if more else None
            died = state == "died"
            where = "" if died or mark is None else f"{state} at {mark.offset}"
            return TaskFailure(
                kind=FailureKind.USER, message=state, died=died, mark=mark, fingerprint=where
            )
        if state == "unplaced":
            message = f"map of step 2 raised {more}"
            return TaskFailure(
                kind=FailureKind.USER, message=message, skippable=True, fingerprint=message
            )
        if state == "setup":
            message = f"setup raised {more}"
            return TaskFailure(kind=FailureKind.USER, message=message, fingerprint=message)
        if state == "unread":
            lost = tuple(self._unread(task, word) for word in more.split(","))
            return TaskFailure(kind=FailureKind.LOST_INPUT, message="not found", lost_runs=lost)
        if state == "result":
            return TaskOutput(result=more.encode(), elapsed_seconds=1.0)
        if state == "large":
            return TaskOutput(object=ObjectInfo(more, 99, "1"), elapsed_seconds=1.0)
        return TaskFailure(kind=FailureKind(state), message=more or "it failed")

    def show_fact(self, fact: Fact) -> str:
        """Return a fact as one line."""
        match fact:
            case EpochTaken():
                return f"EpochTaken {fact.epoch}"
            case JobSubmitted() if fact.spec.after:
                return f"JobSubmitted {fact.job_id} after {' '.join(fact.spec.after)}"
            case JobSubmitted() | JobPlanned():
                names = stage_names(plan.reads for plan in fact.stages)
                tasks = {name: plan.tasks for name, plan in zip(names, fact.stages, strict=True)}
                shown = " ".join(f"{name}={count}" for name, count in tasks.items())
                return f"{type(fact).__name__} {fact.job_id} {shown}"
            case TaskWon():
                return f"TaskWon {self.shown(fact.attempt)} by {fact.worker_id}"
            case WinnerLost():
                return f"WinnerLost {self.shown(fact.attempt)}: {fact.cause}"
            case ResultsKept() | StageRevoked():
                return self._show_fact_of_stages(fact)
            case AttemptFailed():
                attempt = self.shown(fact.attempt)
                return f"AttemptFailed {attempt} on {fact.worker_id}: {fact.failure.kind}"
            case CallsAdded() | CallFailed() | CallsCancelled() | CallsReleased():
                return show_call_fact(fact)
            case WorkerJoined():
                return f"WorkerJoined {fact.worker_id}"
            case WorkersLeft():
                return f"WorkersLeft {' '.join(fact.worker_ids)}"
            case JobEnded():
                message = f": {fact.message}" if fact.message else ""
                return f"JobEnded {fact.job_id} {fact.state}{message}"
            case _:
                again = " again" if isinstance(fact, JobCleaned) and fact.again else ""
                return f"{type(fact).__name__} {fact.job_id}{again}"

    def _show_fact_of_stages(self, fact: ResultsKept | StageRevoked) -> str:
        names = self.stages(fact.job_id)
        if isinstance(fact, StageRevoked):
            return f"StageRevoked {fact.job_id} {names[fact.stage]} version={fact.version}"
        kept = (f"{names[k.stage]}-{k.index}@{k.winner}" for k in fact.results)
        return f"ResultsKept {fact.job_id} {' '.join(kept)}"

    def show_command(self, command: Command) -> str:
        """Return a command as one line."""
        match command:
            case Reply():
                flags = [" drain"] * command.drain + [" leave"] * command.leave
                wanted = []
                for each in command.wanted:
                    version = f"!{each.inputs_version}" if each.inputs_version else ""
                    marks = "+mark" if each.mark_records else ""
                    skips = "".join(f"+skip:{skip.mark.offset}" for skip in each.skip)
                    wanted.append(f" {self.shown(each.attempt)}{version}{marks}{skips}")
                rest = "".join(wanted) or " nothing"
                return f"reply {command.worker_id} {command.sequence}:{rest}{''.join(flags)}"
            case Superseded():
                return f"superseded {command.worker_id}: exceed session {command.exceed_session}"
            case StepDown():
                return f"step down: epoch {command.epoch}"
            case CheckWinner():
                return f"check winner {self.shown(command.attempt)}"
            case PlanJob() | PrepareCommit() | RunCommit() | CleanUp():
                words = {
                    PlanJob: "plan",
                    PrepareCommit: "prepare commit",
                    RunCommit: "run commit",
                    CleanUp: "clean up",
                }
                return f"{words[type(command)]} {command.job_id}"
            case DeleteValues():
                return f"delete values {' '.join(info.uri for info in command.objects)}"

    def _unread(self, task: TaskId, word: str) -> TaskRef:
        """Return the run that `INDEX` of the stage before, or `STAGE-INDEX`, means."""
        if "-" in word.lstrip("-"):
            return self.parse_task(task.job_id, word)
        return TaskRef(task.stage - 1, int(word))
