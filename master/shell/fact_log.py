"""Log lines for facts, written once they are durable, and for work that nobody takes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable

from mrcore.daemon import logs
from mrcore.master.core.facts import AttemptFailed, Fact, JobEnded, JobPlanned, WinnerLost
from mrcore.master.core.machine import Machine
from mrcore.model.ids import AttemptId

log = logging.getLogger("mrcore.master")


def log_facts(machine: Machine, facts: Iterable[Fact]) -> None:
    """Log those of the facts that people look for: ends of jobs, and what went wrong."""
    for fact in facts:
        match fact:
            case JobPlanned():
                tasks = sum(stage.tasks for stage in fact.stages)
                log.info("job planned: %d tasks", tasks, extra={"job": fact.job_id})
            case JobEnded():
                about = {"job": fact.job_id, **({"error": fact.message} if fact.message else {})}
                log.info("job %s", fact.state, extra=about)
            case AttemptFailed():
                log.warning(
                    "attempt failed: %s",
                    fact.failure.message,
                    extra=_about(machine, fact.attempt, worker=fact.worker_id),
                )
            case WinnerLost():
                log.warning("run lost: %s", fact.cause, extra=_about(machine, fact.attempt))
            case _:
                continue


def log_stalls(machine: Machine) -> None:
    """Log the reasons why tasks wait beside idle workers, each with the state that shows it."""
    news, machine.watchdog.news = machine.watchdog.news, []
    for stall in news:
        about = {"job": stall.job_id, "state": json.dumps(stall.state)}
        log.warning("tasks wait: %s", stall.sentence, extra=about)


def _about(machine: Machine, attempt: AttemptId, **more: str) -> dict[str, str]:
    job = machine.cluster.job(attempt.task.job_id)
    if job is None:  # forgotten since, when many ended at once
        return {"job": attempt.task.job_id, "attempt": str(attempt.number), **more}
    return logs.about(attempt, job.stages[attempt.task.stage].name, **more)
