"""`python -P -m mrcore.master`: the master daemon."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the daemon, and exit with its code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Ctrl-C while modules are imported ends the process without a word.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    import logging

    from mrcore.master.main import main as run

    code = run(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # An ordinary exit would join threads that may be blocked on a store for minutes. All that had
    # to be durable is.
    os._exit(code)


if __name__ == "__main__":
    main()
