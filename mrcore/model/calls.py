"""Calls of single functions, as a client adds them to a session.

A session is a job (`JobSpec.session`) with one stage, whose tasks are its calls. A client numbers
the calls of a session from 0.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mrcore.model.ids import TaskId
from mrcore.model.job import Plugin

NO_PLUGIN: Final = Plugin(sha256="", name="calls", steps=())
"""Plugin of a session: each call names its own function."""
CALL_STAGE: Final = 0
"""Number of the only stage of a session."""
MAX_INLINE_ARGUMENTS: Final = 65_536
"""Longer pickled arguments are an object."""
MAX_OBJECTS: Final = 1_000
"""Other stored objects that may be among the arguments of one call."""
MAX_NEEDS: Final = 10_000
"""Values of other calls that one call may take."""


class CallPlan(msgspec.Struct, frozen=True):
    """One call, as it was added."""

    function: str
    """SHA-256 of the object that holds the pickled function."""
    arguments: bytes = b""
    """Pickled arguments, at most `MAX_INLINE_ARGUMENTS`; empty where they are an object."""
    arguments_object: str = ""
    """SHA-256 of the object that holds the pickled arguments; empty where they are `arguments`."""
    needs: tuple[TaskId, ...] = ()
    """Calls whose values are among the arguments, of this session or of others of the cluster."""
    each: bool = False
    """Whether the arguments are a list, and the function is called for each item."""
    objects: tuple[str, ...] = ()
    """SHA-256 of other stored objects that are among the arguments."""

    @property
    def stored(self) -> tuple[str, ...]:
        """Return the SHA-256 of every stored object that it needs."""
        arguments = (self.arguments_object,) if self.arguments_object else ()
        return (self.function, *arguments, *self.objects)
