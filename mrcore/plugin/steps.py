"""`mrcore.Step`: the functions of one step, for jobs that have several."""

from __future__ import annotations

from typing import Any, Unpack

from mrcore.errors import UsageError
from mrcore.plugin.functions import STEP_FUNCTIONS, StepFunctions
from mrcore.util.texts import one_line


class Step:
    """One step of a job: its map, what happens to the pairs on their way, and its reduce.

    The functions are those of a plugin with one step. Without `map` the step takes the pairs of
    the step before as they are. Without `reduce` its pairs go straight to the next step.
    """

    __slots__ = ("functions",)

    def __init__(self, *unnamed: object, **functions: Unpack[StepFunctions]) -> None:
        """Take functions by name; raise UsageError for a name that no step has."""
        if unnamed:
            raise UsageError("A Step takes its functions by name. Write Step(map=..., reduce=...).")
        given: dict[str, Any] = dict(functions)
        unknown = given.keys() - STEP_FUNCTIONS.keys()
        if unknown:
            raise UsageError(
                f"A Step has no function {one_line(min(unknown))}. "
                f"Give it some of {', '.join(STEP_FUNCTIONS)}."
            )
        self.functions = {name: each for name, each in given.items() if each is not None}
        """Functions by name, not yet checked."""

    def __repr__(self) -> str:
        return f"Step({', '.join(self.functions)})"
