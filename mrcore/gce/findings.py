"""Findings of checks, put in order: causes first, and what follows from them left out. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from mrcore.gce.failures import ROOT_CAUSES

_NOWHERE: Final = re.compile(r"or is not a place")
_OF_NOWHERE: Final = re.compile(r" has no subnet | and the VMs in ")
_OF_A_ROOT: Final = re.compile(r"Google credentials|permissions on \S+ cannot be asked")
"""Met by what reads buckets and permissions without gcloud: it needs the same login and network."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that a check has found."""

    kind: str
    """`error`, `warn` or `ok`."""
    message: str

    @property
    def cause(self) -> str:
        """Cause of a failed call; empty for other findings."""
        return self.message.partition(" failed: ")[2]


def errors_of(findings: Iterable[Finding]) -> list[str]:
    """Return the sentences of what is wrong."""
    return [finding.message for finding in findings if finding.kind == "error"]


def sort_out(findings: Iterable[Finding]) -> list[Finding]:
    """Return each finding once, a cause of many in front, without what it has led to."""
    found = list(dict.fromkeys(findings))
    root = next((one for one in found if _is_root(one)), None)
    nowhere = next((one for one in found if _NOWHERE.search(one.message)), None)
    first = root or nowhere
    rest = [one for one in _first_of_each_cause(found) if one is not first]
    if root is not None:
        rest = [one for one in rest if not _follows_root(one) and one is not nowhere]
    if nowhere is not None:
        rest = [one for one in rest if not _OF_NOWHERE.search(one.message)]
    return [first, *rest] if first is not None else rest


def _is_root(finding: Finding) -> bool:
    return finding.kind == "error" and bool(ROOT_CAUSES.search(finding.cause))


def _follows_root(finding: Finding) -> bool:
    return bool(finding.cause) or bool(_OF_A_ROOT.search(finding.message))


def _first_of_each_cause(findings: Iterable[Finding]) -> Iterator[Finding]:
    causes = set[str]()
    for finding in findings:
        if finding.cause and finding.cause in causes:
            continue
        causes.add(finding.cause)
        yield finding
