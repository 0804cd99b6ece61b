"""Resources that tasks take from their workers, as people write them.

On the command line `cpu=2,memory=4GiB,label=gpu`, in Python
`{"cpu": 2, "memory": "4GiB", "labels": {"gpu"}}`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Final, TypedDict

from mrcore.errors import UsageError
from mrcore.model.job import ANY_WORKER, Resources
from mrcore.util.texts import nearest, printable, text_of
from mrcore.util.units import parse_size

MAX_LABELS: Final = 100
MAX_CPUS: Final = 100_000.0
MAX_MEMORY_BYTES: Final = 1 << 50
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/=-]{0,62}", re.ASCII)
_CPUS: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?", re.ASCII)
_NAMES: Final = ("cpu", "memory", "labels")
_ALIASES: Final = {"cpus": "cpu", "label": "labels"}


class Wanted(TypedDict, total=False):
    """Resources that a task takes from its worker while it runs there."""

    cpu: float
    """Number of CPUs."""
    memory: int | str
    """Bytes, or a text such as "4GiB"."""
    labels: str | Iterable[str]
    """Labels that the worker must have."""


def thousandths(cpus: float) -> int:
    """Return CPUs as a whole number, whose sums are exact."""
    return round(cpus * 1000)


def check_label(label: str) -> str:
    """Return a label of a worker if it can be one; raise UsageError."""
    if _LABEL.fullmatch(label) is None:
        raise UsageError(
            f"{label[:80]!a} is not a label. Use at most 63 letters, digits and . _ / = -, and "
            "begin with a letter or digit."
        )
    return label


def parse_cpus(text: str) -> float:
    """Return a number of CPUs such as `2` or `0.5`; raise ValueError."""
    if _CPUS.fullmatch(text.strip()) is None or not 0 < float(text) <= MAX_CPUS:
        raise ValueError(f"{text!r} is not a number of CPUs; write one such as 2 or 0.5")
    return float(text)


def parse_resources(text: str) -> Resources:
    """Return the resources in a text such as `cpu=2,memory=4GiB,label=gpu`; raise ValueError."""
    cpus, memory_bytes = 0.0, 0
    labels: set[str] = set()
    for part in text.split(","):
        given, equals, value = part.strip().partition("=")
        name = _ALIASES.get(given, given)
        if not equals or name not in _NAMES or not value:
            raise ValueError(
                f"{part.strip()!r} is not a resource; write cpu=N, memory=SIZE or label=NAME"
            )
        match name:
            case "cpu":
                cpus = parse_cpus(value)
            case "memory":
                memory_bytes = parse_size(value)
            case _:
                try:
                    labels.add(check_label(value))
                except UsageError as error:
                    raise ValueError(str(error).rstrip(".")) from None
    return Resources(cpus=cpus, memory_bytes=memory_bytes, labels=tuple(sorted(labels)))


def show_resources(resources: Resources) -> str:
    """Write resources as `parse_resources` reads them; empty where any worker will do."""
    parts = [f"cpu={resources.cpus:g}"] if resources.cpus else []
    if resources.memory_bytes:
        parts.append(f"memory={resources.memory_bytes}")
    return ",".join([*parts, *(f"label={label}" for label in resources.labels)])


def resources_of(given: object) -> Resources:
    """Return the resources in a dict (`Wanted`), a text or None; raise UsageError."""
    if given is None:
        return ANY_WORKER
    if isinstance(given, Resources):
        return given
    if isinstance(given, str):
        try:
            return parse_resources(given)
        except ValueError as error:
            raise UsageError(f"resources: {error}.") from None
    if not isinstance(given, Mapping):
        raise UsageError(
            f"resources is {printable(text_of(given, repr), 100)}. Give a dict such as "
            '{"cpu": 2, "memory": "4GiB", "labels": {"gpu"}}.'
        )
    found: dict[str, object] = {}
    for given_name, value in given.items():
        name = _ALIASES.get(given_name, given_name) if isinstance(given_name, str) else ""
        if name not in _NAMES:
            raise UsageError(
                f"{printable(text_of(given_name, repr), 80)} is not a resource. Use "
                f"{', '.join(_NAMES)}.{nearest(str(given_name), _NAMES)}"
            )
        found[name] = value
    return Resources(
        cpus=_cpus(found.get("cpu", 0)),
        memory_bytes=_memory(found.get("memory", 0)),
        labels=_labels(found.get("labels", ())),
    )


def _cpus(value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= MAX_CPUS:  # type: ignore[arg-type, operator]
        raise UsageError(
            f"cpu is {printable(text_of(value, repr), 80)}. Give a number of CPUs, such as 2 or "
            "0.5."
        )
    return float(value)  # type: ignore[arg-type]


def _memory(value: object) -> int:
    try:
        if isinstance(value, str):
            return parse_size(value)
    except ValueError as error:
        raise UsageError(f"memory: {error}.") from None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_MEMORY_BYTES:
        raise UsageError(
            f"memory is {printable(text_of(value, repr), 80)}. Give bytes, or a text such as "
            '"4GiB".'
        )
    return value


def _labels(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, Iterable):
        raise UsageError(f"labels is {printable(text_of(value, repr), 80)}. Give a set of texts.")
    labels: set[str] = set()
    for label in value:
        if not isinstance(label, str):
            raise UsageError(
                f'{printable(text_of(label, repr), 80)} is not a label. Give a text such as "gpu".'
            )
        labels.add(check_label(label))
    if len(labels) > MAX_LABELS:
        raise UsageError(f"labels has {len(labels):,} labels. Give at most {MAX_LABELS}.")
    return tuple(sorted(labels))
