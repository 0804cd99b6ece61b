"""Functions that open the debugger where they raise."""

from __future__ import annotations

import asyncio
import inspect
import pdb
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import pytest

from mrcore.engine.post_mortem import watched


def plain(value: int, *, by: int) -> float:
    """Divide."""
    return value / by


def generator(value: int, *, by: int) -> Iterator[float]:
    """Divide."""
    yield plain(value, by=by)


async def coroutine(value: int, *, by: int) -> float:
    """Divide, after others had their turn."""
    await asyncio.sleep(0)
    return plain(value, by=by)


def finish(result: Any) -> Any:
    if inspect.iscoroutine(result):
        return asyncio.run(result)
    return next(result) if isinstance(result, Iterator) else result


@pytest.mark.parametrize("function", [plain, generator, coroutine])
def test_the_debugger_opens_where_a_function_of_any_kind_raises(
    function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def open_debugger(trace: TracebackType) -> None:
        opened.append(traceback.extract_tb(trace)[-1].name)

    monkeypatch.setattr(pdb, "post_mortem", open_debugger)
    assert finish(watched(function)(4, by=2)) == 2.0
    assert opened == []
    with pytest.raises(ZeroDivisionError):
        finish(watched(function)(4, by=0))
    assert opened == ["plain"]
