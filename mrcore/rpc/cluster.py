"""Location of a user's state, and everything needed to call a cluster.

A master writes a `Leader` and the tokens into its state, and on loopback a `Credentials` file for
each role of the same user's processes. How these are found is `mrcore.rpc.credentials`; nothing
here opens a connection.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import pwd
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from mrcore.errors import UsageError
from mrcore.rpc.certificates import TlsKey
from mrcore.rpc.roles import Role
from mrcore.rpc.tokens import RoleToken
from mrcore.util.decoding import UNREADABLE

DEFAULT_PORT: Final = 7350
"""Default port of a master, and of an address without a port."""


class Leader(msgspec.Struct, frozen=True, kw_only=True):
    """The object `STATE/leader.json`: who the master is, and how to find and trust it.

    It has no secret: the tokens lie beside it, one object for each role.
    """

    cluster_id: str
    epoch: int
    address: str
    """HOST:PORT as others reach it."""
    fingerprint: str = ""
    """SHA-256 of the certificate in hexadecimal; empty without TLS."""
    certificate: str = ""
    """The certificate as PEM; empty without TLS."""
    serving: bool = True
    """False once the master has ended in an orderly way."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """All that a client or worker needs to call a master."""

    address: str
    token: str
    fingerprint: str = ""
    """SHA-256 of the master's certificate in hexadecimal; empty: plain text."""
    certificate: str = ""
    """PEM; where it is empty and `fingerprint` is not, the certificate is fetched and compared."""
    client_key: TlsKey | None = None
    """Certificate to show to a master, and its key; None where no master has wanted one."""
    state_uri: str = ""
    cluster_id: str = ""
    masters: tuple[str, ...] = ()
    """Addresses of all masters that were known, to be tried in turn; empty where there was one."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the addresses to try, that of the leader first."""
        return tuple(dict.fromkeys((self.address, *self.masters)))

    def of(self, own: RoleToken | None) -> Credentials:
        """Return the same with the token and the certificate of a role."""
        if own is None:
            return self
        return msgspec.structs.replace(self, token=own.token, client_key=own.client_key)


def credentials_of(leader: Leader, state_uri: str, own: RoleToken | None = None) -> Credentials:
    """Return what the leader object says, as the credentials of who has this role's token."""
    found = Credentials(
        address=leader.address,
        token="",
        fingerprint=leader.fingerprint,
        certificate=leader.certificate,
        state_uri=state_uri,
        cluster_id=leader.cluster_id,
    )
    return found.of(own)


def state_home() -> Path:
    """Return the folder of everything that mrcore keeps for this user; it may not exist yet.

    Raises UsageError for a user who has no home, as in some containers.
    """
    folder = os.environ.get("XDG_STATE_HOME", "")
    # The XDG rule: a relative path is invalid and to be ignored.
    base = Path(folder) if folder.startswith("/") else _home() / ".local" / "state"
    return base / "mrcore"


def _home() -> Path:
    home = os.environ.get("HOME", "")
    if home.startswith("/"):
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        raise UsageError(
            f"The user {os.getuid()} has no home, so there is no place for what mrcore keeps. "
            "Set XDG_STATE_HOME to a folder."
        ) from None


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`, `[V6]:PORT` or `HOST`; raise UsageError."""
    host, separator, port = text.rpartition(":")
    if not separator or (text.endswith("]") and text.startswith("[")):
        host, port = text, str(DEFAULT_PORT)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    valid = port.isascii() and port.isdigit() and int(port) < 65_536
    if not host or not valid or any(c.isspace() or c in "/@[]" for c in host):
        raise UsageError(f"{text!r} is not an address. Write HOST:PORT, or [IPV6]:PORT.")
    return host, int(port)


def format_address(host: str, port: int) -> str:
    """Return `HOST:PORT`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether this name or address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def loopback_file(port: int, role: Role = Role.USER) -> Path:
    """Return where a master of this user that listens on loopback leaves the credentials."""
    ending = "" if role is Role.USER else f".{role}"
    return state_home() / "clusters" / f"{port}{ending}.json"


def load_credentials(path: Path) -> Credentials:
    """Read a credentials file; raise UsageError when it cannot be read or is not one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"The credentials file {path} cannot be read ({error.strerror}). Give the file that "
            "the master wrote, or --state URI."
        ) from None
    try:
        return msgspec.json.decode(content, type=Credentials)
    except UNREADABLE as error:
        raise UsageError(f"{path} is not a credentials file of mrcore: {error}.") from None


def save_credentials(
    credentials: Credentials, path: Path, advice: str = "Set XDG_STATE_HOME to one that can."
) -> None:
    """Write a credentials file that only this user can read, whole or not at all.

    Raises UsageError with the `advice` where none can be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    except OSError as error:
        raise UsageError(
            f"The folder of credentials, {path.parent}, cannot be written "
            f"({(error.strerror or str(error)).lower()}). {advice}"
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:  # mkstemp makes it 0600
            file.write(msgspec.json.format(msgspec.json.encode(credentials)) + b"\n")
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
