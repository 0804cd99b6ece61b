"""Connection to the master that leads a cluster, with calls that survive its restarts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final, TypeVar, cast

import grpc  # noqa: TID251 - a client speaks gRPC
import msgspec

from mrcore.errors import ClusterUnreachableError, MrcoreError, UnavailableError
from mrcore.rpc.channel import connect
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.masters import ADDRESSES_MAX, KnownMasters
from mrcore.rpc.status import error_from
from mrcore.util.clock import SYSTEM, Clock

CALL_SECONDS: Final = 10.0
"""Deadline of one ordinary call."""
RETRY_SECONDS: Final = 300.0
"""Time for which a watch is tried again while the master is away."""
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0

_Answer = TypeVar("_Answer")
_Stub = TypeVar("_Stub")


class Connection:
    """A channel to the master of a cluster, and to its successor.

    That is the one that `find` names, or one of the masters that replies have named.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        find: Callable[[], Credentials] | None = None,
        retry_seconds: float = RETRY_SECONDS,
        clock: Clock = SYSTEM,
    ) -> None:
        self._find = find
        self._known = KnownMasters()
        self.retry_seconds = retry_seconds
        """Time for which what must not be lost is tried again while the master is away."""
        self._clock = clock
        self._channels: dict[Credentials, grpc.Channel] = {}
        """Channels to the masters that were called, the one that leads last."""
        self._refused: set[str] = set()
        """Tokens that a master has refused."""
        self._stubs: dict[Callable[[grpc.Channel], Any], Any] = {}
        """Stubs on the channel to the master that leads, by their class."""
        self._starting = threading.RLock()
        """Held while a stream begins: gRPC may crash if its channel is closed in this moment."""
        self.closed = False
        """Whether `close` was called: calls fail from then on."""
        self._connect(credentials)

    @property
    def channel(self) -> grpc.Channel:
        """Return the channel to the master that leads, as far as is known."""
        return next(reversed(self._channels.values()))

    def stub(self, kind: Callable[[grpc.Channel], _Stub]) -> _Stub:
        """Return a stub of the master that leads; ask for it within each attempt of a call."""
        stubs = self._stubs
        if kind not in stubs:
            stubs[kind] = kind(self.channel)
        found: _Stub = stubs[kind]
        return found

    @property
    def masters(self) -> tuple[str, ...]:
        """Return the addresses of all masters that are known, that of the leader first."""
        known = (*self.credentials.addresses, *self._known.addresses)
        return tuple(dict.fromkeys(known))[:ADDRESSES_MAX]

    def close(self) -> None:
        """Close all channels; calls in other threads end with an error."""
        with self._starting:
            self.closed = True
            for channel in self._channels.values():
                channel.close()

    def again(self) -> Connection:
        """Return another connection to the same master, with streams of its own."""
        return Connection(
            self.credentials,
            find=self._find,
            retry_seconds=self.retry_seconds,
            clock=self._clock,
        )

    def pause(self, limit_seconds: float | None = None) -> Pause:
        """Return what waits between tries, by default for as long as a watch may."""
        limit = self.retry_seconds if limit_seconds is None else limit_seconds
        return Pause(self._clock, limit)

    def call(self, attempt: Callable[[], _Answer], retry_seconds: float = CALL_SECONDS) -> _Answer:
        """Make a unary call, again while the master does not answer; raise MrcoreError."""
        pause = self.pause(retry_seconds)
        while True:
            self.check_open()
            try:
                return attempt()
            except grpc.RpcError as error:
                self.pause_after(error, pause)
            except ValueError:  # by gRPC, where the channel was closed in this moment
                self.check_open()
                raise

    def stream(
        self, attempt: Callable[[], Iterator[_Answer]], pause: Pause, name: str
    ) -> Generator[_Answer, None, None]:
        """Yield the answers of a stream until it ends; `name` is what it is called in an error.

        After an end that is not final `pause` has waited, and the caller may make the stream again.
        Raises MrcoreError where the end is final.
        """
        call: Any = None
        try:
            with self._starting:
                self.check_open()
                call = attempt()
            for answer in call:
                pause.reset()
                yield answer
        except grpc.RpcError as error:
            self.pause_after(error, pause)
        except ValueError:  # by gRPC, where the channel was closed in this moment
            self.check_open()
            raise
        else:
            # A master that drains ends its streams in an orderly way.
            pause.after(
                ClusterUnreachableError(
                    f"The master at {self.credentials.address} ended the {name}."
                )
            )
            self.look_again()
        finally:
            if call is not None:
                call.cancel()

    def check_open(self) -> None:
        """Raise ClusterUnreachableError after `close`: gRPC may crash on a closed channel."""
        if self.closed:
            raise ClusterUnreachableError(
                f"The connection to {self.credentials.address} was closed."
            )

    def pause_after(self, error: grpc.RpcError, pause: Pause) -> None:
        """Get ready to repeat a call; raise what is final, or ends a call of a closed client."""
        problem = error_from(error, self.credentials.address)
        call = cast("grpc.Call", error)
        self._known.learn(call.trailing_metadata())
        if self.closed:
            raise problem from None
        if call.code() is grpc.StatusCode.UNAUTHENTICATED and self._take_new_token():
            return
        pause.after(problem)
        self.look_again()

    def look_again(self) -> None:
        """Turn to the master that leads now, if that is another one."""
        found = None
        if self._find is not None:
            # Nobody leads yet, or the store does not answer either: then others that are known are
            # asked, or the one that was.
            with contextlib.suppress(MrcoreError):
                found = self._find()
        chosen = self._known.choose(self.credentials, found)
        if chosen != self.credentials:
            with contextlib.suppress(MrcoreError):  # nobody shows the certificate that is trusted
                self._connect(chosen)

    def _take_new_token(self) -> bool:
        """Turn to the master with the token of now; return False if that is the one it refused."""
        found = None
        if self._find is not None:
            with contextlib.suppress(MrcoreError):
                found = self._find()
        if found is None or found.token in self._refused or found.token == self.credentials.token:
            return False
        self._refused.add(self.credentials.token)
        self._connect(found)
        return True

    def _connect(self, credentials: Credentials) -> None:
        # Former channels stay for a while: another thread may be in a call. Each master has one,
        # since masters are asked in turn for as long as none leads.
        name = msgspec.structs.replace(credentials, masters=())
        with self._starting:
            channel = self._channels.get(name) or connect(credentials, self._known.learn)
            others = {key: kept for key, kept in self._channels.items() if key != name}
            self._channels = {**others, name: channel}
            self.credentials = credentials
            self._stubs = {}
            while len(self._channels) > ADDRESSES_MAX:
                # Not closed: it is when no thread uses it, and gRPC may crash otherwise.
                del self._channels[next(iter(self._channels))]


class Pause:
    """Wait between tries, for a bounded time without a success."""

    def __init__(self, clock: Clock, limit_seconds: float) -> None:
        self._clock = clock
        self._limit_seconds = limit_seconds
        self.reset()

    def reset(self) -> None:
        """Begin again: there was an answer."""
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._since: float | None = None

    def after(self, error: MrcoreError) -> None:
        """Sleep before the next try; raise the error if it is final or the time is over."""
        if not isinstance(error, (ClusterUnreachableError, UnavailableError)):
            raise error from None
        now = self._clock.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._limit_seconds:
            raise error from None
        self._clock.sleep(self._pause_seconds)
        self._pause_seconds = min(_LONGEST_PAUSE_SECONDS, self._pause_seconds * 2)
