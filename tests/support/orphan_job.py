"""A job whose tasks start processes that outlive them."""

from __future__ import annotations

HELPER = """
import os, signal, sys
if os.fork():
    os._exit(0)
os.setsid()
with open(sys.argv[1] + ".draft", "w") as flag:
    flag.write(str(os.getpid()))
os.rename(sys.argv[1] + ".draft", sys.argv[1])
signal.pause()
"""
"""Forks, and pauses in a session of its own and without its parent."""


JOB = f"""
import os, pathlib, signal, subprocess, sys
HELPER = {HELPER!r}
def map(key, value):
    flag = pathlib.Path(value)
    subprocess.run([sys.executable, "-c", HELPER, value])
    while not flag.exists():
        pass
    if value.endswith("stay"):
        signal.pause()
    if value.endswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    yield value, 1
"""
