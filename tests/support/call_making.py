"""Calls as a client and a master make them, without either."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mrcore.calls import payload
from mrcore.calls.references import Refer
from mrcore.model.calls import NO_PLUGIN
from mrcore.model.job import JobSpec, Session
from mrcore.model.task import CallInput, CallValue
from tests.support.specs import job_spec


def session_spec(name: str = "calls", *, retries: int = 0, **options: Any) -> JobSpec:
    """Return the specification of a session."""
    return job_spec(
        name,
        plugin=NO_PLUGIN,
        inputs=(),
        output_uri="",
        session=Session(retries=retries),
        **options,
    )


class ObjectFolder:
    """The objects of a state in a folder."""

    def __init__(self, state: Path) -> None:
        self.folder = state / "objects"
        self.folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Store an object; return its SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not (self.folder / sha256).exists():  # a child may be reading it
            (self.folder / sha256).write_bytes(data)
        return sha256

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        values: Sequence[CallValue] = (),
        refer: Refer | None = None,
        **keywords: Any,
    ) -> CallInput:
        """Return a call of a function, which is stored."""
        data = payload.dump_arguments(arguments, keywords, refer)
        return CallInput(
            function=self.put(payload.dump_function(function)),
            arguments=data,
            values=tuple(values),
        )

    def each(self, function: Callable[..., Any], items: Sequence[Sequence[Any]]) -> CallInput:
        """Return a call of a function for each item, that is, a list of its arguments."""
        return CallInput(
            function=self.put(payload.dump_function(function)),
            arguments=payload.dump_items(items),
            each=True,
        )
