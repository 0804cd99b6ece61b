"""`python -P -m worker`."""

from __future__ import annotations

import os
import sys

from worker.main import main

code = main()
sys.stdout.flush()
sys.stderr.flush()
# An ordinary exit would wait for threads, of which one may be blocked on a store.
os._exit(code)
