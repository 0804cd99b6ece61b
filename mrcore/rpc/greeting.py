"""Check whether an address speaks gRPC, without gRPC and without credentials.

A connection alone proves little: tunnels, port forwarders and some firewalls accept for anybody.
Both sides of HTTP/2 speak first, so a greeting costs one round trip.
"""

from __future__ import annotations

import socket
from enum import Enum, auto
from typing import Final

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""First bytes of a client (RFC 9113, 3.4), with an empty SETTINGS frame."""
_FRAME_HEADER_BYTES: Final = 9
_TYPE_AT: Final = 3
_SETTINGS: Final = 4


class Greeting(Enum):
    """Answer of a listener to somebody without credentials."""

    HTTP2 = auto()
    """It speaks HTTP/2, in plain text or over TLS."""
    WANTS_CERTIFICATE = auto()
    """It speaks HTTP/2 over TLS, and closes the connection of who shows no certificate."""
    OTHER = auto()
    """It speaks something else, or says nothing."""


def greet(host: str, port: int, seconds: float) -> Greeting:
    """Return how the listener greets.

    Raises OSError (TimeoutError too) when nobody listens, or nobody says a word for `seconds`.
    """
    with socket.create_connection((host, port), timeout=seconds) as connection:
        try:
            header = _exchange(connection)
        except ConnectionError:  # hung up on
            header = b""
    if header[_TYPE_AT : _TYPE_AT + 1] == bytes([_SETTINGS]):
        return Greeting.HTTP2
    return _greet_over_tls(host, port, seconds)


def _exchange(connection: socket.socket) -> bytes:
    """Greet, and return the header of the first frame, or less where the other side ends."""
    connection.sendall(_PREFACE)
    header = b""
    while len(header) < _FRAME_HEADER_BYTES:
        received = connection.recv(_FRAME_HEADER_BYTES - len(header))
        if not received:
            break
        header += received
    return header


def _greet_over_tls(host: str, port: int, seconds: float) -> Greeting:
    import ssl  # most masters are greeted without

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is said that could be betrayed
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((host, port), timeout=seconds) as connection:
        try:
            greeted = context.wrap_socket(connection)
        except (ssl.SSLError, ConnectionError):
            return Greeting.OTHER
        with greeted:
            if greeted.selected_alpn_protocol() != "h2":
                return Greeting.OTHER
            try:
                # In TLS 1.3 the handshake is over before the other side has seen a certificate.
                refused = not _exchange(greeted)
            except TimeoutError:
                refused = False
            except (ssl.SSLError, ConnectionError):
                refused = True
            return Greeting.WANTS_CERTIFICATE if refused else Greeting.HTTP2
