"""Channels from clients and workers to the master: the token, the certificates, the limits.

A channel connects lazily and reconnects by itself; a call fails with UNAVAILABLE while nobody
answers, unless it says `wait_for_ready=True`, which waits up to the call's deadline.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import grpc  # noqa: TID251 - the border to gRPC
import grpc.aio  # noqa: TID251 - the border to gRPC

from mrcore.errors import ClusterUnreachableError, UsageError
from mrcore.rpc.certificates import CERTIFICATE_NAME
from mrcore.rpc.cluster import Credentials, parse_address

MAX_MESSAGE_BYTES: Final = 64 * 2**20
"""Largest message in either direction, on both sides."""
CONNECT_SECONDS: Final = 5.0

_OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A peer that is frozen or vanished is noticed within 10 s, while calls are out.
    # The answer comes from gRPC's own threads, so a busy loop does not delay it.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # A ping that measures the bandwidth may be out, in whose place no other is sent: it waits for a
    # minute by default.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A restarted master is found again soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Retries are ours: they carry sequence numbers and request ids.
    ("grpc.enable_retries", 0),
    # A proxy for web pages cannot speak to a cluster.
    ("grpc.enable_http_proxy", 0),
    # Two clients in one process (two tokens) must not share a connection.
    ("grpc.use_local_subchannel_pool", 1),
)

_Request = TypeVar("_Request")


def fingerprint_of(certificate: str) -> str:
    """Return the SHA-256 of a PEM certificate's DER form, in hexadecimal."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()


def token_metadata(token: str) -> tuple[str, str]:
    """Return the metadata entry that carries the cluster's token."""
    return ("authorization", f"Bearer {token}")


Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]
Learn: TypeAlias = Callable[[Metadata | None], None]
"""Receiver of the metadata of replies."""


def _ignore(metadata: Metadata | None) -> None:
    """Learn nothing."""


def connect(credentials: Credentials, learn: Learn = _ignore) -> grpc.Channel:
    """Return a channel for blocking calls; close it when done.

    `learn` gets the metadata of each reply. Raises UsageError for a certificate that is not the
    pinned one.
    """
    trusted = _trusted_certificate(credentials)
    if trusted is None:
        channel = grpc.insecure_channel(credentials.address, options=_OPTIONS)
    else:
        channel = grpc.secure_channel(
            credentials.address, _tls_credentials(credentials, trusted), options=_tls_options()
        )
    return grpc.intercept_channel(channel, _TokenInterceptor(credentials.token, learn))


def connect_to_anybody(address: str, *, tls: bool) -> grpc.Channel:
    """Return a channel to whoever listens there, for calls that want and tell nothing.

    Raises ClusterUnreachableError when nobody speaks TLS there.
    """
    if not tls:
        return grpc.insecure_channel(address, options=_OPTIONS)
    trusted = grpc.ssl_channel_credentials(_fetch_certificate(address).encode())
    return grpc.secure_channel(address, trusted, options=_tls_options())


def connect_aio(credentials: Credentials) -> grpc.aio.Channel:
    """Return a channel for the running event loop; close it when done.

    Raises UsageError for a certificate that is not the pinned one. May block for the time of a
    TLS handshake where the credentials have a fingerprint and no certificate.
    """
    interceptors = [_AioUnaryToken(credentials.token), _AioStreamToken(credentials.token)]
    trusted = _trusted_certificate(credentials)
    if trusted is None:
        return grpc.aio.insecure_channel(
            credentials.address, options=_OPTIONS, interceptors=interceptors
        )
    return grpc.aio.secure_channel(
        credentials.address,
        _tls_credentials(credentials, trusted),
        options=_tls_options(),
        interceptors=interceptors,
    )


def _tls_options() -> tuple[tuple[str, Any], ...]:
    return (*_OPTIONS, ("grpc.ssl_target_name_override", CERTIFICATE_NAME))


def _tls_credentials(credentials: Credentials, trusted: bytes) -> grpc.ChannelCredentials:
    """Return what a caller trusts, and the certificate that it shows if it has one."""
    own = credentials.client_key
    if own is None:
        return grpc.ssl_channel_credentials(trusted)
    return grpc.ssl_channel_credentials(trusted, own.key.encode(), own.certificate.encode())


def _trusted_certificate(credentials: Credentials) -> bytes | None:
    """Return the one certificate to trust, as PEM; None for plain text."""
    if not credentials.fingerprint:
        if credentials.certificate:
            raise UsageError(
                "The credentials have a certificate and no fingerprint. Take the whole file that "
                "the master wrote."
            )
        return None
    certificate = credentials.certificate or _fetch_certificate(credentials.address)
    try:
        found = fingerprint_of(certificate)
    except ValueError:
        raise UsageError(
            "The certificate in the credentials is not PEM. Get new credentials with "
            "`mrcore token create`."
        ) from None
    if not hmac.compare_digest(found, credentials.fingerprint.lower().replace(":", "")):
        raise UsageError(
            f"The certificate of {credentials.address} has fingerprint {found}, and not "
            f"{credentials.fingerprint}: this is not the master that was meant, or the credentials "
            "are out of date."
        )
    return certificate.encode()


def _fetch_certificate(address: str) -> str:
    """Return the PEM certificate that is shown at `address`; nothing is trusted by that."""
    try:
        return ssl.get_server_certificate(parse_address(address), timeout=CONNECT_SECONDS)
    except OSError as error:
        raise ClusterUnreachableError(
            f"No master answers with TLS at {address} ({error.strerror or error}): is it running "
            "there, and with --tls?"
        ) from None


def _with_token(
    metadata: Sequence[tuple[str, str | bytes]] | None, token: tuple[str, str]
) -> tuple[tuple[str, str | bytes], ...]:
    return (*(metadata or ()), token)


class _Details(grpc.ClientCallDetails):
    """Call details with other metadata: gRPC has no way to change the ones it passes in."""

    def __init__(
        self, old: grpc.ClientCallDetails, metadata: tuple[tuple[str, str | bytes], ...]
    ) -> None:
        self.method = old.method
        self.timeout = old.timeout
        self.metadata = metadata
        self.credentials = old.credentials
        self.wait_for_ready = old.wait_for_ready
        self.compression = old.compression


class _TokenInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
):
    """Adds the token to every call of a blocking channel."""

    def __init__(self, token: str, learn: Learn) -> None:
        self._token = token_metadata(token)
        self._learn = learn

    def _details(self, old: grpc.ClientCallDetails) -> grpc.ClientCallDetails:
        return _Details(old, _with_token(old.metadata, self._token))

    def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.ClientCallDetails, _Request], Any],
        client_call_details: grpc.ClientCallDetails,
        request: _Request,
    ) -> Any:
        """Pass the call on, with the token, and its reply to who learns from it."""
        call = continuation(self._details(client_call_details), request)
        if call.done():  # a blocking call is; of one that goes on the metadata would be awaited
            self._learn(call.trailing_metadata())
        return call

    def intercept_unary_stream(
        self,
        continuation: Callable[[grpc.ClientCallDetails, _Request], Any],
        client_call_details: grpc.ClientCallDetails,
        request: _Request,
    ) -> Any:
        """Pass the call on, with the token."""
        return continuation(self._details(client_call_details), request)

    def intercept_stream_unary(
        self,
        continuation: Callable[[grpc.ClientCallDetails, Iterator[_Request]], Any],
        client_call_details: grpc.ClientCallDetails,
        request_iterator: Iterator[_Request],
    ) -> Any:
        """Pass the call on, with the token."""
        return continuation(self._details(client_call_details), request_iterator)


def _aio_details(
    old: grpc.aio.ClientCallDetails, token: tuple[str, str]
) -> grpc.aio.ClientCallDetails:
    metadata = grpc.aio.Metadata(*(old.metadata or ()))
    metadata.add(*token)
    return grpc.aio.ClientCallDetails(
        method=old.method,
        timeout=old.timeout,
        metadata=metadata,
        credentials=old.credentials,
        wait_for_ready=old.wait_for_ready,
    )


class _AioUnaryToken(grpc.aio.UnaryUnaryClientInterceptor):
    """Adds the token to every unary call of an asyncio channel."""

    def __init__(self, token: str) -> None:
        self._token = token_metadata(token)

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, _Request], Awaitable[Any]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: _Request,
    ) -> Any:
        """Pass the call on, with the token."""
        return await continuation(_aio_details(client_call_details, self._token), request)


class _AioStreamToken(grpc.aio.UnaryStreamClientInterceptor):
    """Adds the token to every streaming call of an asyncio channel.

    gRPC files an interceptor under one kind of call only, so the two cannot be one class.
    """

    def __init__(self, token: str) -> None:
        self._token = token_metadata(token)

    async def intercept_unary_stream(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, _Request], Awaitable[Any]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: _Request,
    ) -> Any:
        """Pass the call on, with the token."""
        return await continuation(_aio_details(client_call_details, self._token), request)
