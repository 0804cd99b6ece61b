"""`mrcore logs --follow`: the output of running attempts, as it comes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import click

from mrcore.cli import places
from mrcore.client.client import MasterClient
from mrcore.errors import ClusterUnreachableError, NotFoundError
from mrcore.model.job import TaskState
from mrcore.model.snapshots import AttemptLog
from mrcore.util.clock import SYSTEM

PAUSE_SECONDS: Final = 1.0
READ_BYTES: Final = 1 << 20
"""Bytes of each log that are read each time: more than this in a pause is not shown."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The logs that somebody wants to see."""

    job_id: str
    task: str | None
    stage: str
    index: int
    attempt: str
    tail_bytes: int


class Follower:
    """The logs as far as they were printed."""

    def __init__(self, tail_bytes: int) -> None:
        self._tail_bytes = tail_bytes
        self._sizes: dict[str, int] = {}
        """Bytes of each log that were there at the last look."""
        self._latest = ""

    def news(self, logs: tuple[AttemptLog, ...]) -> Iterator[bytes]:
        """Yield what is new in the logs, behind a line that names the attempt where it changes."""
        for log in logs:
            before = self._sizes.get(log.attempt)
            self._sizes[log.attempt] = log.size_bytes
            if before is None:
                text = log.text[-self._tail_bytes :]
                skipped = log.size_bytes - len(text)
            else:
                # It begins anew where it has grown too long.
                before = 0 if before > log.size_bytes else before
                text = log.text[len(log.text) - min(len(log.text), log.size_bytes - before) :]
                skipped = log.size_bytes - before - len(text)
            if not text:
                continue
            if log.attempt != self._latest:
                self._latest = log.attempt
                yield f"==> {log.attempt} <==\n".encode()
            if skipped > 0:
                yield f"… {skipped:,} bytes are left out\n".encode()
            yield text


def follow_cluster(wanted: Wanted, client: MasterClient) -> None:
    """Print the logs of a cluster's job until its tasks have ended."""
    _follow(wanted, client, Follower(wanted.tail_bytes), lambda: True)


def follow_run(wanted: Wanted, look: Callable[[], tuple[AttemptLog, ...]]) -> None:
    """Print the logs of an embedded run until it has ended; `look` reads its files."""
    follower = Follower(wanted.tail_bytes)

    def is_live() -> bool:
        return places.live_master(places.find_run(wanted.job_id)) is not None

    live = places.live_master(places.find_run(wanted.job_id))
    if live is not None:
        with contextlib.suppress(ClusterUnreachableError), MasterClient(live) as client:
            _follow(wanted, client, follower, is_live)
    _print(follower.news(look()))  # its master may have ended before all was read


def _follow(
    wanted: Wanted, client: MasterClient, follower: Follower, is_live: Callable[[], bool]
) -> None:
    while is_live():  # a master that has ended is not to be waited for
        is_over = _is_over(client, wanted)  # before the last look, which then has all
        tail = READ_BYTES if wanted.task is not None else wanted.tail_bytes
        _print(follower.news(read(client, wanted, tail, follow=True)))
        if is_over:
            return
        SYSTEM.sleep(PAUSE_SECONDS)


def _print(texts: Iterator[bytes]) -> None:
    for text in texts:
        click.echo(text, nl=False)


def _is_over(client: MasterClient, wanted: Wanted) -> bool:
    """Return whether nothing more will be printed."""
    if client.get(wanted.job_id).state.final:
        return True
    if wanted.task is None:
        return False
    completed = client.tasks(wanted.job_id, wanted.stage, TaskState.COMPLETED)
    return any(task.index == wanted.index for task in completed)


def read(
    client: MasterClient, wanted: Wanted, tail_bytes: int, *, follow: bool = False
) -> tuple[AttemptLog, ...]:
    """Return the ends of the logs; none where nothing was printed."""
    try:
        return client.read_log(
            wanted.job_id,
            stage=wanted.stage,
            index=wanted.index,
            attempt=wanted.attempt,
            tail_bytes=tail_bytes,
            follow=follow,
        )
    except NotFoundError:
        return ()
