"""Journals with a short history."""

from __future__ import annotations

from mrcore.master.core.facts import CancelRequested, Fact
from mrcore.master.shell.entries import Entry
from mrcore.master.shell.journal import Journal
from mrcore.rpc.cluster import Leader
from mrcore.storage.base import Storage
from tests.support.fake_clock import FakeClock


def cancelled(job_id: str) -> Fact:
    return CancelRequested(job_id, "enough")


def history_of(storage: Storage, state_uri: str) -> list[Entry]:
    """Return the entries that are read; there must be no snapshot."""
    found = []
    for read in Journal(storage, state_uri, "reader", FakeClock()).replay():
        assert isinstance(read, Entry)
        found.append(read)
    return found


def leader(epoch: int) -> Leader:
    return Leader(cluster_id="c", epoch=epoch, address=f"host:{epoch}", token="t")
