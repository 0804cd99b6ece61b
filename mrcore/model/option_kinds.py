"""Kinds of job options: what the value of each may be."""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from mrcore.model.formats import InputFormat, OutputFormat, Table


class Whole(msgspec.Struct, frozen=True):
    """A whole number from `low` to `high`; `zero` is a word that stands for 0."""

    low: int
    high: int
    zero: str = ""


class Share(msgspec.Struct, frozen=True):
    """A whole number up to `high`, or a share in per cent."""

    high: int
    share_field: str
    """Field of the message `JobSpec` that has the share, as a text."""


class Seconds(msgspec.Struct, frozen=True):
    """A duration in seconds: at least `low`, or above it, and at most `high`."""

    low: float
    high: float
    above: bool = False


class Bytes(msgspec.Struct, frozen=True):
    """A size in bytes."""

    low: int = 0
    high: int = 2**64 - 1


class Choice(msgspec.Struct, frozen=True):
    """One member of an enum, written as its value."""

    members: type[enum.StrEnum]


class Named(msgspec.Struct, frozen=True):
    """The name of one entry of a table."""

    table: Table[InputFormat] | Table[OutputFormat]


class Flag(msgspec.Struct, frozen=True):
    """An option without a value; where it is given, the field gets `sets`."""

    sets: bool


class Params(msgspec.Struct, frozen=True):
    """Names and their texts."""


class ColumnTypes(msgspec.Struct, frozen=True):
    """Names of columns, in order, and the names of their types."""


class ColumnNames(msgspec.Struct, frozen=True):
    """Names of columns, at most `most` of them."""

    most: int


class Needs(msgspec.Struct, frozen=True):
    """Resources that a task takes from its worker."""


class Folder(msgspec.Struct, frozen=True):
    """The place of a folder, absolute once it is in a draft."""


class Files(msgspec.Struct, frozen=True):
    """Paths of files on the client's machine."""


class Jobs(msgspec.Struct, frozen=True):
    """Ids of jobs, at most `most` of them."""

    most: int


Kind = (
    Whole
    | Share
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
