"""Options of calls, checked, and the sessions that they make."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mrcore.client.option_values import count
from mrcore.client.versions import versions
from mrcore.errors import UsageError
from mrcore.model.calls import NO_PLUGIN
from mrcore.model.job import ANY_WORKER, JobSpec, Resources, Session
from mrcore.model.resources import Wanted, resources_of
from mrcore.util.texts import nearest, printable, text_of
from mrcore.util.units import parse_duration

MAX_RETRIES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """Options that the calls of one session share."""

    retries: int = 0
    timeout_seconds: float | None = None
    resources: Resources = ANY_WORKER
    priority: int = 0
    max_attempts: int = 4
    keep: bool = False

    def spec(self) -> JobSpec:
        """Return the specification of a session for such calls."""
        return JobSpec(
            name="calls",
            inputs=(),
            output_uri="",
            versions=versions(),
            plugin=NO_PLUGIN,
            session=Session(retries=self.retries, keep=self.keep),
            task_timeout_seconds=self.timeout_seconds,
            resources=self.resources,
            priority=self.priority,
            max_attempts=self.max_attempts,
        )


def call_options(
    *,
    retries: int = 0,
    timeout: float | str | None = None,
    resources: Wanted | None = None,
    priority: int = 0,
    max_attempts: int = 4,
    keep: bool = False,
) -> CallOptions:
    """Return the options of a call; raise UsageError for values that cannot be."""
    return CallOptions(
        retries=_bounded("retries", retries, 0, MAX_RETRIES),
        timeout_seconds=None if timeout is None else _seconds(timeout),
        resources=resources_of(resources),
        priority=_bounded("priority", priority, -1_000_000, 1_000_000),
        max_attempts=_bounded("max_attempts", max_attempts, 1, 100),
        keep=bool(keep),
    )


def check_arguments(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    keywords: Mapping[str, Any],
    known: Iterable[str],
) -> None:
    """Raise UsageError for a keyword that the function does not take, with the nearest name.

    `known` are the options of the caller. Functions without a signature are not checked.
    """
    if not keywords:  # to look at a signature takes longer than the call
        return
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    parameters = signature.parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return
    takes = [
        each.name
        for each in parameters
        if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    for name in keywords:
        if name not in takes:
            raise UsageError(
                f"{name!r} is neither an option of a call nor an argument of "
                f"{printable(text_of(getattr(function, '__name__', 'the function')), 80)}."
                f"{nearest(name, [*takes, *known])}"
            )


def _bounded(name: str, value: object, low: int, high: int) -> int:
    number = count(name, value)
    if not low <= number <= high:
        raise UsageError(f"{name} is {number:,}. Give a number from {low:,} to {high:,}.")
    return number


def _seconds(value: object) -> float:
    wrong = UsageError(
        f"timeout is {printable(text_of(value, repr), 100)}. Give seconds above 0, or a text such "
        'as "30s".'
    )
    if isinstance(value, str):
        try:
            value = parse_duration(value)
        except ValueError:
            raise wrong from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong
    if not math.isfinite(value) or value <= 0:
        raise wrong
    return float(value)
