"""Names of jobs, tasks and attempts, and how they are written."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from random import Random  # noqa: TID251 - the type only: a generator is always passed in
from typing import Self

import msgspec


class AttemptNumber(msgspec.Struct, frozen=True, order=True, array_like=True):
    """Number of an attempt of its task: the master's epoch, then a count within that epoch.

    Never used twice, over restarts of the master too: every start takes an epoch of its own.
    """

    epoch: int
    n: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.n}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse what `str()` wrote; raise ValueError for anything else."""
        epoch, _, n = text.partition(".")
        return cls(int(epoch), int(n))


class TaskId(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One task of one job: the number of its stage, and its own within the stage, from 0.

    People see `mrcore.model.stages.task_name`; `str()` is for logs and assertions.
    """

    job_id: str
    stage: int
    index: int

    def __str__(self) -> str:
        return f"{self.job_id}/stage{self.stage}-{self.index:05d}"


class AttemptId(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One attempt at one task."""

    task: TaskId
    number: AttemptNumber

    def __str__(self) -> str:
        return f"{self.task}@{self.number}"


_JOB_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def new_job_id(name: str, wall: float, rng: Random) -> str:
    """Return an id such as `wordcount-20261121-022301-k3f9qz`, unique but readable.

    The random tail keeps apart two jobs started in the same second.
    """
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24].strip("-") or "job"
    stamp = datetime.fromtimestamp(wall, UTC).strftime("%Y%m%d-%H%M%S")
    tail = "".join(rng.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(6))
    return f"{stem}-{stamp}-{tail}"


@lru_cache(1024)  # asked for every attempt that a message names, of a few jobs
def is_job_id(text: str) -> bool:
    """Return whether `text` may name a job (and so may stand in an object name)."""
    return _JOB_ID.fullmatch(text) is not None
