"""Calls of the master's gRPC services: errors become statuses, and answers have a size limit."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, NoReturn, Protocol, TypeVar

import grpc.aio  # noqa: TID251 - a servicer speaks gRPC

from mrcore.errors import DefectError, MrcoreError, UsageError
from mrcore.rpc.channel import MAX_MESSAGE_BYTES
from mrcore.rpc.status import abort

log = logging.getLogger("mrcore.master")

SERVICES: Final = (
    "mrcore.rpc.v1.JobService",
    "mrcore.rpc.v1.CallService",
    "mrcore.rpc.v1.TokenService",
    "mrcore.rpc.v1.WorkerService",
)


class Sized(Protocol):
    """A message that knows its size on the wire."""

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        """Return the bytes of the message."""
        ...


Context = grpc.aio.ServicerContext[Any, Any]
_Request = TypeVar("_Request")
_Response = TypeVar("_Response", bound=Sized)
_Self = TypeVar("_Self")


def answering(
    method: Callable[[_Self, _Request, Context], Awaitable[_Response]],
) -> Callable[[_Self, _Request, Context], Awaitable[_Response]]:
    """Turn errors of a call into gRPC's, and refuse answers that are too large."""

    async def answer(self: _Self, request: _Request, context: Context) -> _Response:
        try:
            response = await method(self, request, context)
            check_size(response)
            return response
        except Exception as error:  # noqa: BLE001 - it becomes gRPC's
            await _fail(context, error)

    answer.__doc__ = method.__doc__
    return answer


def streaming(
    method: Callable[[_Self, _Request, Context], AsyncGenerator[_Response, None]],
) -> Callable[[_Self, _Request, Context], AsyncGenerator[_Response, None]]:
    """Turn errors of a call that has many answers into gRPC's; close it where its caller leaves."""

    async def answers(
        self: _Self, request: _Request, context: Context
    ) -> AsyncGenerator[_Response, None]:
        try:
            async with aclosing(method(self, request, context)) as responses:
                async for response in responses:
                    yield response
        except Exception as error:  # noqa: BLE001 - it becomes gRPC's
            await _fail(context, error)

    answers.__doc__ = method.__doc__
    return answers


async def _fail(context: Context, error: Exception) -> NoReturn:
    """End a call with an error, which is a defect unless it is one of ours."""
    if not isinstance(error, MrcoreError):
        log.error("a call has met a defect", exc_info=error)
        error = defect(error)
    await abort(context, error)


def check_size(response: Sized) -> None:
    """Raise UsageError for an answer that no caller could receive."""
    size = response.ByteSize()
    if size > MAX_MESSAGE_BYTES:
        raise UsageError(
            f"The answer takes {size:,} bytes, and {MAX_MESSAGE_BYTES:,} is the limit. Ask for a "
            "smaller page, or for one job."
        )


def defect(error: Exception) -> DefectError:
    """Return what a caller gets to see of a defect of ours."""
    return DefectError(f"The master failed on this call ({error!r}): its log says where.")
