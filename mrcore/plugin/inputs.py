"""`mrcore.Input`: how the files of one input group are read and mapped."""

from __future__ import annotations

from collections.abc import Mapping

from mrcore.errors import UsageError
from mrcore.plugin.functions import UserFunction
from mrcore.util.texts import one_line, text_of


class Input:
    """One entry of `inputs`: a map function for some files, their format, or both.

    Without `map` the records go to the map of the plugin. Without `format` the files have the
    format of the job.
    """

    __slots__ = ("columns", "format", "map")

    def __init__(
        self,
        map: UserFunction | None = None,  # noqa: A002 - the public word
        *,
        format: str = "",  # noqa: A002 - the public word
        columns: Mapping[str, str | type] | None = None,
    ) -> None:
        """Take a function, checked later, a format, and types of columns of csv and tsv."""
        given: object = format
        if not isinstance(given, str):
            raise UsageError(
                f"The format of an Input is {one_line(text_of(given, repr))}, which is not a text. "
                'Write Input(…, format="csv").'
            )
        self.map = map
        self.format = given
        self.columns = columns

    def __repr__(self) -> str:
        return f"Input({'' if self.map is None else 'map, '}format={self.format!r})"
