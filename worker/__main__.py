"""`python -P -m mrcore.worker`: the worker daemon."""

from __future__ import annotations

import os
import signal
import sys


def load() -> None:
    """Import what `main` needs, for forks of this process."""
    from mrcore.storage import registry
    from mrcore.worker import main

    main.load()
    registry.preload()


def main() -> None:
    """Run the daemon, and exit with its code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Ctrl-C while modules are imported ends the process without a word.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    from mrcore.worker.main import main as run

    code = run()
    sys.stdout.flush()
    sys.stderr.flush()
    # An ordinary exit would wait for threads, of which one may be blocked on a store.
    os._exit(code)


if __name__ == "__main__":
    main()
