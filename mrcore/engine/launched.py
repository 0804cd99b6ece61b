"""Process of a launcher: how it is started, before the modules that will ask it for daemons.

It imports for as long as half of a small job takes. So the command line starts it before its own
imports, which then go on beside it. What is heavy is not imported here.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import mrcore.rpc  # noqa: F401 - it adds to the environment, which daemons have
from mrcore.tasks.child.environment import CHILD_PATH, MARK, launcher_environment
from mrcore.util import host
from mrcore.util.units import parse_size

LAUNCHER: Final = "mrcore.engine.launcher"
_ARGUMENT_BYTES: Final = 8_192
"""Room for the arguments of daemons, as other programs see them."""
_MARK_BYTES: Final = 512
"""Room for marks of children in a launcher that is started before the folder of its cluster."""
_TAIL_BYTES: Final = 2_000
_END_SECONDS: Final = 5.0
_ELSEWHERE: Final = ("--master", "--state", "--credentials", "--engine", "--help", "-h")
"""Options of `mrcore run` with which it starts no daemons, or only perhaps."""


def daemon_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a master or worker.

    PYTHONPATH moves to MRCORE_CHILD_PYTHONPATH, from which a worker restores it for its children. A
    module there may have the name of a library that only the daemons need, as `logging` or `grpc`.
    It is meant for the user's code, and must not replace the library in a daemon.
    """
    result = dict(os.environ if environment is None else environment)
    path = result.pop("PYTHONPATH", None)
    if path is not None:
        result[CHILD_PATH] = path
    return result


class Launched:
    """A launcher that was started."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        channel: socket.socket,
        environment: dict[str, str],
        log: int,
    ) -> None:
        self.process = process
        self.channel = channel
        """Our end of the socket on which it is asked."""
        self.environment = environment
        """Environment with which it has begun."""
        self._log: int | None = log

    def close(self, seconds: float = _END_SECONDS) -> None:
        """End it; what it has forked lives on."""
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # the system holds it: left behind
            self.process.wait(seconds)
        self.channel.close()
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def log_tail(self) -> str:
        """Return the end of what it printed; nothing once it was closed."""
        if self._log is None:
            return ""
        size = os.fstat(self._log).st_size
        text = os.pread(self._log, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        return text.decode("utf-8", "replace").strip()


def launch(environment: dict[str, str], prefix: Sequence[str] = ()) -> Launched:
    """Start a launcher with this environment; `prefix` are words that run the rest of its command.

    Its log is in memory: there may be no folder for it yet.
    """
    channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.ExitStack() as undo, other:
        undo.callback(channel.close)
        log = os.memfd_create("mrcore-launcher")
        undo.callback(os.close, log)
        process = subprocess.Popen(
            [
                *prefix,
                *(sys.executable, "-P", "-m", LAUNCHER, str(other.fileno())),
                " " * _ARGUMENT_BYTES,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=(other.fileno(),),
            start_new_session=True,
        )
        undo.pop_all()
    return Launched(process, channel, environment, log)


class _Early:
    """The launcher that was started ahead of need, until somebody takes it."""

    def __init__(self) -> None:
        self.launched: Launched | None = None


_early: Final = _Early()


def launch_early(words: Sequence[str]) -> None:
    """Start a launcher if these words of a command line will probably need one."""
    if not _needs_daemons(words) or not _has_standard_streams():
        return
    with contextlib.suppress(OSError, ValueError):  # its user meets the same again
        environment = launcher_environment(daemon_environment(), _slot_bytes(words), _MARK_BYTES)
        _early.launched = launch(environment)


def take(environment: Mapping[str, str]) -> Launched | None:
    """Return the launcher that was started early, if it lives and suits; it is the caller's then.

    One that does not suit is ended.
    """
    found = _early.launched
    if found is None:
        return None
    if not suits(found.environment, environment) or found.process.poll() is not None:
        end_early()
        return None
    _early.launched = None
    return found


def suits(began: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Return whether an environment is the one that is wanted, with room enough for marks."""
    has_room = len(began[MARK]) >= len(wanted[MARK])
    return has_room and {**began, MARK: ""} == {**wanted, MARK: ""}


def end_early() -> None:
    """End the launcher that was started early, if nobody has taken it."""
    found, _early.launched = _early.launched, None
    if found is not None:
        found.close()


def _needs_daemons(words: Sequence[str]) -> bool:
    """Return whether this is a job on this machine, as far as its words show."""
    if len(words) < 4 or words[0] != "run" or os.environ.get("MRCORE_MASTER"):
        return False
    return not any(word.partition("=")[0] in _ELSEWHERE for word in words)


def _has_standard_streams() -> bool:
    """Return whether no descriptor that is made here can become a standard stream."""
    with contextlib.suppress(OSError):
        for number in (0, 1, 2):
            os.fstat(number)
        return True
    return False


def _slot_bytes(words: Sequence[str]) -> int:
    """Return the memory of a slot, as these words ask for it; raise ValueError if they are wrong.

    Where another value is found when they are parsed, another launcher may be needed.
    """
    memory = _value(words, "--memory")
    if memory is not None:
        return parse_size(memory)
    slots = max(1, int(_value(words, "--slots") or 1))
    workers = int(_value(words, "-w", "--workers") or host.default_workers(slots))
    return host.slot_bytes(max(1, workers * slots))


def _value(words: Sequence[str], *names: str) -> str | None:
    """Return the value of the last option that has one of these names."""
    found = None
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            found = value if equals else (*words, "")[at + 1]
        elif not word.startswith("--") and word[:2] in names:
            found = word[2:]
    return found
