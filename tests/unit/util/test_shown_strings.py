"""Arguments and variables of a process that replaces what /proc shows of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mrcore.util import shown_strings

PROGRAM = """
import sys
from pathlib import Path
from mrcore.util.shown_strings import show_arguments, show_variable
show_arguments(["program", sys.argv[1]])
print(show_variable("MARK", "new"), show_variable("MARK", "longer"), show_variable("NONE", "new"))
print([show_variable("ROOM", value) for value in ("short", "medium", "x" * 9)])
print(Path("/proc/self/cmdline").read_bytes().rstrip(b"\\0"))
print(sorted(Path("/proc/self/environ").read_bytes().split(b"\\0")))
"""


def test_arguments_and_variables_are_replaced_where_they_fit() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, "argument"],
        env={"A_MARK": "old", "MARK": "old", "ROOM": "--------", "MARKS": "old"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.splitlines() == [
        "True False False",
        "[True, True, False]",
        "b'program\\x00argument'",
        "[b'', b'', b'', b'A_MARK=old', b'MARK=new', b'MARKS=old', b'ROOM=medium']",
    ]


def test_nothing_is_written_where_the_kernel_hides_the_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shown_strings, "_region", lambda field: (0, 0))
    shown_strings.show_arguments(["program"])
    assert not shown_strings.show_variable("PATH", "x")
