"""Elements of a dataset as what a writer of parts takes: rows, or pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mrcore.dataset.pipeline import AsPairs, Elements


class AsRows(AsPairs):
    """Dicts as rows, pairs as they are, and anything else by itself."""

    def __init__(self, *, text: bool) -> None:
        """In a format of text an element is a line; in others a row with the column `value`."""
        self._text = text

    def over(self, elements: Elements) -> Iterator[Any]:
        """Yield rows and pairs."""
        for element in elements:
            kind = type(element)
            if (kind is tuple and len(element) == 2) or (kind is dict and not self._text):
                yield element
            elif self._text:
                yield element, None
            else:
                yield {"value": element}
