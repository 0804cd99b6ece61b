"""A debugger that opens where the plugin raises."""

from __future__ import annotations

import bdb
import functools
import inspect
import pdb
from collections.abc import Coroutine, Iterator
from typing import Any

from mrcore.plugin.functions import UserFunction


def watched(function: UserFunction) -> UserFunction:
    """Return the same function, opening the debugger where it raises."""

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        try:
            result = function(*arguments, **keywords)
        except BaseException as error:
            _open_debugger(error)
            raise
        if inspect.iscoroutine(result):  # it runs, and raises, when this function has returned
            return _watched_coroutine(result)
        return _watched_generator(result) if inspect.isgenerator(result) else result

    return call


def _watched_generator(generator: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from generator
    except BaseException as error:
        _open_debugger(error)
        raise


async def _watched_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coroutine
    except BaseException as error:
        _open_debugger(error)
        raise


def _open_debugger(error: BaseException) -> None:
    """Open it where the plugin raised; not for what a person did, or because nobody wants more."""
    if not isinstance(error, KeyboardInterrupt | GeneratorExit | bdb.BdbQuit):
        pdb.post_mortem(error.__traceback__)
