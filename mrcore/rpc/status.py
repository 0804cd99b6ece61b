"""The one table between the project's errors and gRPC's status codes.

An error travels with its class name as the `reason` of a `google.rpc.ErrorInfo`, so that the
caller of the client sees the very class that the master raised, and the same sentence. Clients in
other languages read the code and the details.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

import grpc  # noqa: TID251 - the border to gRPC
import grpc.aio  # noqa: TID251 - the border to gRPC

from mrcore import errors
from mrcore.errors import MrcoreError
from mrcore.util.texts import printable

DOMAIN: Final = "mrcore"
_DETAILS_KEY: Final = "grpc-status-details-bin"
_MAX_PLAIN: Final = 150
_MAX_SENTENCE: Final = 1_000
"""Characters of a sentence, in the plain status and in the rich one: both travel in headers, of
which gRPC takes 8 KiB, and a character takes up to 12 bytes in the plain one."""

CODES: Final[dict[type[MrcoreError], grpc.StatusCode]] = {
    errors.MrcoreError: grpc.StatusCode.UNKNOWN,
    errors.UsageError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.PluginError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.PicklingError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InputError: grpc.StatusCode.NOT_FOUND,
    errors.OutputError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.UnknownJobError: grpc.StatusCode.NOT_FOUND,
    errors.UnknownWorkerError: grpc.StatusCode.NOT_FOUND,
    errors.NotAllowedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.JobEndedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ClusterUnreachableError: grpc.StatusCode.UNAVAILABLE,
    errors.JobFailedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.RemoteError: grpc.StatusCode.UNKNOWN,
    errors.DefectError: grpc.StatusCode.INTERNAL,
    errors.DataError: grpc.StatusCode.DATA_LOSS,
    errors.KeyTypeError: grpc.StatusCode.DATA_LOSS,
    errors.CorruptRunError: grpc.StatusCode.DATA_LOSS,
    errors.StorageError: grpc.StatusCode.INTERNAL,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.PreconditionFailedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.DiskFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.LimitError: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_HUNG_UP: Final = re.compile(r"failed to connect.*(Socket closed|Connection reset)", re.DOTALL)
"""Words of gRPC for a connection that ends before a call. A master ends it so where a caller does
not show the certificate that it wants."""
_BY_NAME: Final = {kind.__name__: kind for kind in CODES}

_WITHOUT_REASON: Final[dict[grpc.StatusCode, type[MrcoreError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.UsageError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.UsageError,
    grpc.StatusCode.UNAUTHENTICATED: errors.UsageError,
    grpc.StatusCode.UNIMPLEMENTED: errors.UsageError,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.UnavailableError,
    grpc.StatusCode.UNAVAILABLE: errors.ClusterUnreachableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.ClusterUnreachableError,
    # A server with too many calls at its door drops some of them like this.
    grpc.StatusCode.CANCELLED: errors.ClusterUnreachableError,
}
"""Errors for answers of gRPC itself, or of another program at that port."""


def code_of(error: MrcoreError) -> grpc.StatusCode:
    """Return the status code of an error, by its class or the nearest parent in the table."""
    for kind in type(error).__mro__:
        if kind in CODES:
            return CODES[kind]
    raise AssertionError("the root of the tree is in the table")


async def abort(
    context: grpc.aio.ServicerContext[object, object],
    error: MrcoreError,
    metadata: tuple[tuple[str, str], ...] = (),
) -> NoReturn:
    """End the call with this error: code, sentence, and the class as a rich detail.

    `metadata` goes with them.
    """
    from google.protobuf import any_pb2
    from google.rpc import error_details_pb2, status_pb2

    code = code_of(error)
    sentence = printable(str(error), _MAX_SENTENCE)
    reason = next(kind.__name__ for kind in type(error).__mro__ if kind in CODES)
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    number: int = code.value[0]
    rich = status_pb2.Status(code=number, message=sentence, details=[detail])
    plain = printable(sentence, _MAX_PLAIN)
    await context.abort(code, plain, ((_DETAILS_KEY, rich.SerializeToString()), *metadata))


def error_from(error: grpc.RpcError, address: str) -> MrcoreError:
    """Return the error that a failed call stands for; `address` is the master's, for the words."""
    assert isinstance(error, grpc.Call | grpc.aio.AioRpcError), "only calls fail like this"
    code = error.code()
    details = error.details() or ""
    rich = _rich_error(error)
    if rich is not None:
        return rich
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return errors.UsageError(
            f"The master at {address} does not accept this token. Read the cluster's credentials "
            "again (--state URI or --credentials FILE)."
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return errors.UsageError(
            f"What listens at {address} does not speak mrcore.rpc.v1. Check the address, and that "
            "both sides have the same version."
        )
    kind = _WITHOUT_REASON.get(code, MrcoreError)
    if kind is errors.ClusterUnreachableError and _HUNG_UP.search(details):
        return kind(
            f"The master at {address} does not answer ({details}). It may want TLS, or a client "
            "certificate. Use --state URI, or --credentials FILE with a new file of `mrcore token "
            "create`."
        )
    if kind is errors.ClusterUnreachableError:
        return kind(f"The master at {address} does not answer ({details or code.name}).")
    return kind(f"The master at {address} answered {code.name}: {details}")


def _rich_error(error: grpc.Call | grpc.aio.AioRpcError) -> MrcoreError | None:
    """Return the error in the rich details, if there is one of ours."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            from google.protobuf.message import DecodeError
            from google.rpc import error_details_pb2, status_pb2

            info = error_details_pb2.ErrorInfo()
            try:
                status = status_pb2.Status.FromString(value)
                for detail in status.details:
                    if detail.Unpack(info) and info.domain == DOMAIN and info.reason in _BY_NAME:
                        return _BY_NAME[info.reason](status.message)
            except DecodeError:
                return None
    return None
