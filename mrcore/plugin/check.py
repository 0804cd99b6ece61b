"""Check of a bundle, run by `mrcore.plugin.precheck.check_in_child`: load it once and report.

    python -P -m mrcore.plugin.check REPORT LIFELINE FOLDER < bundle

Writes one JSON object to the descriptor REPORT: what `UserFunctions.described` returns, or the
sentence for the user. Unpacks into FOLDER, which the client removes; when the client is gone and
LIFELINE has its end, the folder is removed here. Imports nothing heavy, since every `mrcore run`
waits for it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from mrcore.errors import PluginError
from mrcore.plugin import by_value, nesting
from mrcore.plugin.loader import load_bundle


def main() -> None:
    """Read a bundle from standard input and report on it."""
    report_end, lifeline, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    for descriptor in (report_end, lifeline):
        os.set_inheritable(descriptor, False)
    watcher = _watch_client(lifeline, report_end, folder)
    nesting.forbid_jobs()
    data = sys.stdin.buffer.read()
    by_value.give_main_away()
    with os.fdopen(report_end, "w", encoding="utf-8") as report:
        try:
            functions = load_bundle(data, folder)
        except PluginError as error:
            json.dump({"error": str(error)}, report)
        else:
            json.dump(functions.described(), report)
    os.kill(watcher, signal.SIGKILL)
    os.waitpid(watcher, 0)
    # Threads that the plugin has started must not keep us.
    os._exit(0)


def _watch_client(lifeline: int, report_end: int, folder: Path) -> int:
    """Start a process that leaves nothing behind when nobody waits for the report any more.

    It is not a thread, beside which plugins cannot be patched by gevent, and which a plugin that
    holds the interpreter would stop.
    """
    checker = os.getpid()
    watcher = os.fork()
    if watcher:
        return watcher
    for descriptor in (0, report_end):
        os.close(descriptor)
    os.read(lifeline, 1)
    shutil.rmtree(folder, ignore_errors=True)
    if os.getppid() == checker:
        os.kill(checker, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)  # it may have unpacked more meanwhile
    os._exit(1)


if __name__ == "__main__":
    main()
