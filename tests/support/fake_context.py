"""A context of gRPC calls that are made without a network."""

from __future__ import annotations

from typing import Any, Final, NoReturn, cast

import grpc
import grpc.aio
from google.rpc import status_pb2


class AbortedError(Exception):
    """A call ended with a status."""

    def __init__(self, code: grpc.StatusCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class FakeContext:
    """As much of a call's context as the services use."""

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing: tuple[tuple[str, bytes]]
    ) -> NoReturn:
        """Raise what a caller would get."""
        del details  # cut short, as the plain text of a status may not be long
        raise AbortedError(code, status_pb2.Status.FromString(trailing[0][1]).message)


CONTEXT: Final = cast("grpc.aio.ServicerContext[Any, Any]", FakeContext())
