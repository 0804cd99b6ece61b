"""`python -P -m master`: the master daemon."""

from __future__ import annotations

import logging
import os
import sys

from master.main import main

if __name__ == "__main__":
    # Our own sentences say what went wrong; gRPC's C core would add lines of its own.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    code = main(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # An ordinary exit would join threads that may be blocked on a store for minutes. All that had
    # to be durable is.
    os._exit(code)
