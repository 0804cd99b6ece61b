"""Nodes of a dataset: sources and operations, before they are planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from mrcore.dataset.lowers import Lower
from mrcore.dataset.pipeline import Lift, Operation


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Files of one format, or items in memory."""

    title: str
    format: str
    """Name of an input format."""
    lift: Lift = Lift.VALUE
    paths: tuple[str, ...] = ()
    items: bytes | None = None
    """The items as a file of frames (`mrcore.records.frames`)."""


@dataclass(frozen=True, slots=True, eq=False)
class Narrow:
    """An operation on each element."""

    parent: Node
    operation: Operation


@dataclass(frozen=True, slots=True, eq=False)
class Union:
    """The elements of several datasets."""

    parents: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One dataset on its way into a shuffle."""

    parent: Node
    lower: Lower


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Shuffle:
    """Pairs brought together by key."""

    title: str
    sides: tuple[Side, ...]
    reduce: Any = None
    combine: Any = None
    sort_key: Any = None
    lift: Lift = Lift.PAIR
    """Form of the elements that the pairs behind the shuffle become."""
    total_order: bool = False
    tasks: int = 0
    """Number of tasks behind the shuffle; 0 leaves it to the job."""


Node: TypeAlias = Source | Narrow | Union | Shuffle
ONE_TASK: Final = 1
ITEMS: Final = "from_items"
"""Name of items in memory in messages."""


def sources_of(node: Node) -> Sequence[Source]:
    """Return the sources that a node reads, each once."""
    found: dict[int, Source] = {}
    seen: set[int] = set()
    todo: list[Node] = [node]
    while todo:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        match each:
            case Source():
                found[id(each)] = each
            case Narrow():
                todo.append(each.parent)
            case Union():
                todo.extend(each.parents)
            case Shuffle():
                todo.extend(side.parent for side in each.sides)
    return list(found.values())


def replaced(node: Node, sources: Mapping[int, Source]) -> Node:
    """Return a node with other sources, given by the identity of those that they replace."""
    done: dict[int, Node] = {}

    def of(each: Node) -> Node:
        if id(each) not in done:
            done[id(each)] = made(each)
        return done[id(each)]

    def made(each: Node) -> Node:
        match each:
            case Source():
                return sources.get(id(each), each)
            case Narrow():
                return Narrow(of(each.parent), each.operation)
            case Union():
                return Union(tuple(map(of, each.parents)))
            case Shuffle():
                sides = tuple(Side(of(side.parent), side.lower) for side in each.sides)
                return replace(each, sides=sides)

    return of(node)
