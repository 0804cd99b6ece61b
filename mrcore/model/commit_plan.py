"""Plan of a commit: what it replaces, and what it publishes beside the winners' parts.

It is journaled before anything is published, so that every later committer does the same.
"""

from __future__ import annotations

import msgspec


class ObjectVersion(msgspec.Struct, frozen=True, array_like=True):
    """One version of an object."""

    uri: str
    generation: str


class StagedObject(msgspec.Struct, frozen=True, array_like=True):
    """A staged object and the name under which it is published."""

    source: ObjectVersion
    destination: str


class CommitPlan(msgspec.Struct, frozen=True):
    """Everything that a commit touches, except the staged parts of the winners."""

    replaced: tuple[ObjectVersion, ...] = ()
    """Objects below the output that the commit replaces or deletes: all that it may ever delete."""
    staged: tuple[StagedObject, ...] = ()
    """Receipt, list of names, bad records, and parts that were written anew with one schema."""
