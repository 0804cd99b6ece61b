"""`mrcore` itself as a process, whether or not it is on PATH."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence


def mrcore_words(words: Sequence[str]) -> list[str]:
    """Return the command that runs `mrcore WORDS` with this Python."""
    return [sys.executable, "-P", "-m", "mrcore", *words]


def run_mrcore(words: Sequence[str]) -> int:
    """Run `mrcore WORDS` to its end, with our stdout and stderr; return its exit code."""
    return subprocess.run(mrcore_words(words), stdin=subprocess.DEVNULL, check=False).returncode
