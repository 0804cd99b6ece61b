"""Servers of the tests that live as long as their standard input is open."""

from __future__ import annotations

import subprocess

STOP_SECONDS = 60.0


def end(process: subprocess.Popen[bytes]) -> None:
    """End such a server, and with it all that it still serves; by force if it does not go."""
    assert process.stdin
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
