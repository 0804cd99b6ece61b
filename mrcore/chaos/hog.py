"""A process that takes memory in a control group until the kernel kills another one for it.

    python -P -m mrcore.chaos.hog GROUP EVENTS LIMIT

GROUP is the folder of the group, EVENTS the name of its file of events, and LIMIT the bytes that
the group may use. The kernel does not kill this process itself.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Final

from mrcore.chaos.core.memory_files import kills_in

_STEP_BYTES: Final = 1 << 20
_NEVER: Final = "-1000"


def main() -> None:
    """Take memory until somebody was killed."""
    group, events, limit_bytes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    with contextlib.suppress(OSError):  # some containers do not allow it
        Path("/proc/self/oom_score_adj").write_text(_NEVER, encoding="ascii")
    (group / "cgroup.procs").write_text("0", encoding="ascii")
    file = group / events
    former = kills_in(file.read_text(encoding="ascii"))
    held: list[bytes] = []
    while kills_in(file.read_text(encoding="ascii")) == former:
        if len(held) * _STEP_BYTES > limit_bytes:
            return  # the limit does not hold
        held.append(b"\1" * _STEP_BYTES)  # memory that is only zero would not be taken


if __name__ == "__main__":
    main()
