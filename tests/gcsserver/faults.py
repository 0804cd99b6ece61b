"""Faults and their occasions: rules that a test sets, drawn from a seeded generator.

Over HTTP (`/_control/faults`): POST a JSON list of rules to add them, GET them with their hits,
DELETE them all. The fields of a rule are those of `Fault`.
"""

from __future__ import annotations

import fnmatch
import threading
from dataclasses import asdict, dataclass, fields
from random import Random
from typing import Any, Literal, get_args

from tests.gcsserver.errors import invalid

Kind = Literal["error", "drop", "lost", "cut", "slow", "delay", "corrupt"]


@dataclass(slots=True)
class Fault:
    """One rule.

    error: answer `status` and do nothing       drop: close the connection and do nothing
    lost:  do it, then close without an answer  cut:  answer half of the body, then close
    slow:  answer the body in small steps, over `seconds` in all
    delay: wait `seconds`, then do it as always
    corrupt: answer with the first byte of the body changed
    """

    kind: Kind
    verb: str = "*"
    """Pattern of verbs: objects.get, objects.media, objects.insert, objects.delete,
    objects.list, objects.rewrite, objects.copy, objects.compose, objects.patch, objects.update,
    uploads.start, uploads.chunk, uploads.status, uploads.cancel, buckets.*"""
    name: str = "*"
    """Pattern of object names."""
    status: int = 503
    seconds: float = 0.0
    probability: float = 1.0
    count: int | None = None
    """Most hits; None is without end."""
    skip: int = 0
    """Number of matching requests before the first hit."""
    hits: int = 0


_REASONS = {
    401: "authError",
    403: "forbidden",
    404: "notFound",
    408: "requestTimeout",
    412: "conditionNotMet",
    429: "rateLimitExceeded",
    500: "backendError",
    503: "backendError",
}


def reason_of(status: int) -> str:
    """Return the API's word for an injected status."""
    return _REASONS.get(status, "injected")


class Faults:
    """The rules in force, in the order in which they were added."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._rng = Random(seed)
        self._rules: list[Fault] = []

    def add(self, *rules: Fault) -> None:
        with self._lock:
            self._rules += rules

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def seed(self, seed: int) -> None:
        with self._lock:
            self._rng.seed(seed)

    def as_json(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(rule) for rule in self._rules]

    def add_json(self, rules: object) -> None:
        """Add rules that came over HTTP; raise 400 for what is none."""
        known = {field.name for field in fields(Fault)} - {"hits"}
        if not isinstance(rules, list):
            raise invalid("Faults come as a list.")
        for rule in rules:
            if (
                not isinstance(rule, dict)
                or set(rule) - known
                or rule.get("kind") not in get_args(Kind)
            ):
                raise invalid(f"Not a fault: {rule!r}")
        self.add(*(Fault(**rule) for rule in rules))

    def draw(self, verb: str, name: str) -> Fault | None:
        """Return the rule that strikes this request, if any."""
        with self._lock:
            for rule in self._rules:
                if not fnmatch.fnmatchcase(verb, rule.verb):
                    continue
                if not fnmatch.fnmatchcase(name, rule.name):
                    continue
                if rule.count is not None and rule.hits >= rule.count:
                    continue
                if rule.skip > 0:
                    rule.skip -= 1
                    continue
                if rule.probability >= 1 or self._rng.random() < rule.probability:
                    rule.hits += 1
                    return rule
        return None
