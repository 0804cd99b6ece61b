"""Kinds of job options: what the value of each may be."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from mrcore.model.formats import InputFormat, OutputFormat, Table


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `low` to `high`; `zero` is a word that stands for 0."""

    low: int
    high: int
    zero: str = ""


@dataclass(frozen=True, slots=True)
class Seconds:
    """A duration in seconds: at least `low`, or above it, and at most `high`."""

    low: float
    high: float
    above: bool = False


@dataclass(frozen=True, slots=True)
class Bytes:
    """A size in bytes."""

    low: int = 0
    high: int = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Choice:
    """One member of an enum, written as its value."""

    members: type[enum.StrEnum]


@dataclass(frozen=True, slots=True)
class Named:
    """The name of one entry of a table."""

    table: Table[InputFormat] | Table[OutputFormat]


@dataclass(frozen=True, slots=True)
class Flag:
    """An option without a value; where it is given, the field gets `sets`."""

    sets: bool


@dataclass(frozen=True, slots=True)
class Params:
    """Names and their texts."""


@dataclass(frozen=True, slots=True)
class ColumnTypes:
    """Names of columns, in order, and the names of their types."""


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """Names of columns, at most `most` of them."""

    most: int


@dataclass(frozen=True, slots=True)
class Needs:
    """Resources that a task takes from its worker."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The place of a folder, absolute once it is in a draft."""


@dataclass(frozen=True, slots=True)
class Files:
    """Paths of files on the client's machine."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """Ids of jobs, at most `most` of them."""

    most: int


Kind = (
    Whole
    | Seconds
    | Bytes
    | Choice
    | Named
    | Flag
    | Params
    | ColumnTypes
    | ColumnNames
    | Needs
    | Folder
    | Files
    | Jobs
)
REPEATED: Final = (Params, ColumnTypes, ColumnNames, Files, Jobs)
"""Kinds of which the command line takes several values."""
