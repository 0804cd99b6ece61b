"""Names and folders of a store: what its URIs mean, and what they need besides objects.

`Storage` in `mrcore.storage.base` is built on this Protocol. A store without folders inherits all
but `reach` from `NoFolders`. Its URIs have the form `SCHEME://BUCKET/NAME`.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from typing import Final, Protocol, Self

from mrcore.errors import PermissionDeniedError

SEPARATOR: Final = "://"


class Reach(enum.Enum):
    """Processes that see the objects of a store."""

    PROCESS = enum.auto()
    """Only the process that holds the store."""
    MACHINE = enum.auto()
    """Processes of this machine. Others see the same objects only if they share a file system."""
    EVERYWHERE = enum.auto()
    """Processes of all machines. Bytes travel over a network."""


class NameKind(enum.Enum):
    """Things that a name can stand for."""

    ABSENT = enum.auto()
    """Nothing, or nothing that this process may look at."""
    OBJECT = enum.auto()
    FOLDER = enum.auto()
    OTHER = enum.auto()
    """A device, a socket, or a link that leads nowhere."""
    UNKNOWN = enum.auto()
    """Not looked at: in a store without folders one name may be an object and a prefix."""


class Lock(AbstractContextManager["Lock"], Protocol):
    """A lock that is held until `close`, or until the process ends."""

    def close(self) -> None:
        """Free the lock."""
        ...


class Places(Protocol):
    """Names and folders of a store. Only methods that say so touch the store."""

    @property
    def reach(self) -> Reach:
        """Return which processes see the objects."""
        ...

    def shown(self, uri: str) -> str:
        """Return a URI as a person would type it."""
        ...

    def form_problem(self, uri: str) -> str | None:
        """Return how a URI of this scheme has to be written, None if this one is."""
        ...

    def whole(self, uri: str) -> str | None:
        """Return what a URI names as a whole, such as `bucket`; None for a name inside of one."""
        ...

    def resolved(self, uri: str) -> str:
        """Return a URI without the links on its way, so that places can be compared; blocks.

        A slash at the end stays.
        """
        ...

    def kind(self, uri: str) -> NameKind:
        """Return what a name stands for; blocks, and raises nothing."""
        ...

    def first_unreadable(self, uris: Iterable[str]) -> tuple[str, str] | None:
        """Return the first of some listed objects that may not be read; blocks.

        The second item ends a sentence that begins with "… cannot be read". A store asks as little
        as it can: one whose permissions are those of a bucket reads one byte in each bucket.
        """
        ...

    def check_writable(self, folder_uri: str) -> None:
        """Raise StorageError where no object can be made below a folder; blocks.

        Stores that need a request for it leave that to whoever writes.
        """
        ...

    def protect(self, folder_uri: str, secrets: Iterable[str] = ()) -> bool:
        """Make a folder for this user alone, if it is not there; blocks.

        A folder that is there keeps its permissions, which may be meant. The objects `secrets` in
        it do not. Return True where others can read the folder. Buckets have their own permissions.
        """
        ...

    def lock(self, uri: str) -> Lock:
        """Lock the name for this process; blocks.

        Raises AlreadyExistsError where a living process has locked it. Where locks do not reach all
        processes that see the store, this locks nothing.
        """
        ...

    def is_locked(self, uri: str) -> bool:
        """Return whether a living process holds the lock of this name; blocks."""
        ...

    def make_folders(self, folder_uris: Collection[str], *, below: str) -> None:
        """Make folders below another one, with names that are durable; blocks."""
        ...

    def sync(self, folder_uri: str) -> None:
        """Make all publications in a folder durable that were made with `durable=False`; blocks."""
        ...

    def prune(self, folder_uri: str, *, up_to: str | None = None, abandoned: bool = False) -> None:
        """Remove a folder that holds nothing; blocks.

        `abandoned` says that nobody writes there any more. Then folders in it that hold no object
        go first, with the temporaries of writers that died. With `up_to`, the folders above go too
        if they hold nothing, up to this one, which stays.
        """
        ...


class NoLock:
    """The lock of a store that needs none."""

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Readable(Protocol):
    def read(self, uri: str, start: int = 0, end: int | None = None) -> bytes: ...


class NoFolders:
    """Names of a store that has buckets and no folders; a base class for such stores."""

    def shown(self, uri: str) -> str:
        """Return the URI as it is."""
        return uri

    def form_problem(self, uri: str) -> str | None:
        """Return how to name a bucket, None where one is named."""
        scheme, _, path = uri.partition(SEPARATOR)
        return None if path.partition("/")[0] else f"{scheme}{SEPARATOR}BUCKET/FOLDER"

    def whole(self, uri: str) -> str | None:
        """Return `bucket` for a URI without a name in one."""
        return None if "/" in uri.partition(SEPARATOR)[2].strip("/") else "bucket"

    def resolved(self, uri: str) -> str:
        """Return the URI as it is: there are no links."""
        return uri

    def kind(self, uri: str) -> NameKind:
        """Return UNKNOWN."""
        return NameKind.UNKNOWN

    def first_unreadable(self: _Readable, uris: Iterable[str]) -> tuple[str, str] | None:
        """Read a byte of one object in each bucket."""
        buckets: set[str] = set()
        for uri in uris:
            bucket = "/".join(uri.split("/", 3)[:3])
            if bucket not in buckets:
                buckets.add(bucket)
                try:
                    self.read(uri, 0, 1)
                except PermissionDeniedError as error:
                    return uri, f": {error}"
        return None

    def check_writable(self, folder_uri: str) -> None:
        """Leave it to whoever writes."""

    def protect(self, folder_uri: str, secrets: Iterable[str] = ()) -> bool:
        """Leave it to the bucket."""
        return False

    def lock(self, uri: str) -> Lock:
        """Lock nothing: conditional writes decide."""
        return NoLock()

    def is_locked(self, uri: str) -> bool:
        """Return False."""
        return False

    def make_folders(self, folder_uris: Collection[str], *, below: str) -> None:
        """Do nothing: there are no folders."""

    def sync(self, folder_uri: str) -> None:
        """Do nothing: every publication is durable at once."""

    def prune(self, folder_uri: str, *, up_to: str | None = None, abandoned: bool = False) -> None:
        """Do nothing: there are no folders."""
