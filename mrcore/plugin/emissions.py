"""Emissions that a function's code shows before it is called: constants that are not pairs.

A finish function runs at the end of a task, which may be hours after the start of the job.
"""

from __future__ import annotations

import dis
import inspect
from types import CodeType, FunctionType
from typing import Final

from mrcore.util.texts import one_line, text_of

_NEVER_PAIRS: Final = (str, bytes, int, float, complex)
"""Types of constants that a function must not return in place of pairs."""


def sure_mistake(function: object) -> tuple[str, int] | None:
    """Return what a function emits though it is not a pair, as `yields 3`, and in which line.

    Only what is certain counts: a constant, or a tuple of another length than two. A function with
    a decorator is judged by the code that is called.
    """
    if not isinstance(function, FunctionType):
        return None
    code = function.__code__
    find = _yielded if code.co_flags & inspect.CO_GENERATOR else _returned
    before: dis.Instruction | None = None
    for each in dis.get_instructions(code):
        found = find(before, each)
        if found:
            line = each.positions.lineno if each.positions is not None else None
            return found, line or code.co_firstlineno
        before = each
    return None


def _yielded(before: dis.Instruction | None, each: dis.Instruction) -> str:
    if each.opname != "YIELD_VALUE" or before is None:
        return ""
    if before.opname == "BUILD_TUPLE":
        return "" if before.arg == 2 else f"yields a tuple of {before.arg}"
    value = _constant(before)
    is_pair = isinstance(value, tuple) and len(value) == 2
    if value is None or isinstance(value, CodeType) or is_pair:
        return ""  # a bare `yield` may stand where it is not reached, to make a generator
    return f"yields {one_line(text_of(value, repr))}"


def _returned(before: dis.Instruction | None, each: dis.Instruction) -> str:
    if each.opname == "RETURN_CONST":  # of Python 3.12 and 3.13
        value = each.argval
    elif each.opname == "RETURN_VALUE" and before is not None:
        value = _constant(before)
    else:
        return ""
    if not isinstance(value, _NEVER_PAIRS):
        return ""
    return f"returns {one_line(text_of(value, repr))}"


def _constant(instruction: dis.Instruction) -> object:
    """Return the constant that an instruction loads, or None where it loads something else."""
    loads = instruction.opname in ("LOAD_CONST", "LOAD_SMALL_INT")
    return instruction.argval if loads else None
