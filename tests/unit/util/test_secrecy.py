"""Protection of a process's memory from its own user's other processes."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import os, sys
from mrcore.util import secrecy

def as_nobody():
    if os.getuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    secrecy.show_memory()  # a change of the user hides it, too

def forked(act):
    # Each answers on a pipe, and stays until the other end is closed.
    reader, writer = os.pipe()
    stay, leave = os.pipe()
    child = os.fork()
    if not child:
        os.close(leave)
        as_nobody()
        os.write(writer, act().encode())
        os.read(stay, 1)
        os._exit(0)
    os.close(writer)
    return child, os.read(reader, 100).decode()

def hidden():
    secrecy.hide_memory()
    return "-"

def hidden_and_shown():
    secrecy.hide_memory()
    secrecy.show_memory()
    return "-"

def look(process_id):
    try:
        return str(len(open(f"/proc/{process_id}/environ").read()) > 0)
    except PermissionError:
        return "refused"

for act in (lambda: "-", hidden, hidden_and_shown):
    child, _ = forked(act)
    print(forked(lambda: look(child))[1])
"""


def test_the_memory_of_a_process_is_hidden_from_others_of_its_user() -> None:
    found = subprocess.run(
        [sys.executable, "-c", LOOK], check=False, capture_output=True, text=True, timeout=60
    )
    assert found.stdout.split() == ["True", "refused", "True"], found.stderr
