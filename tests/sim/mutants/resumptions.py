"""Mutants of jobs that go on with what others have left."""

from __future__ import annotations

import msgspec

from mrcore.master.core.events import Submitted
from mrcore.master.core.machine import Machine
from mrcore.master.shell.resumptions import Keeping


class KeptContentForgotten(Machine):
    """Keeps results of a former job without the digest of their content."""

    def _on_submitted(self, event: Submitted) -> None:
        kept = tuple(
            msgspec.structs.replace(each, output=msgspec.structs.replace(each.output, digest=b""))
            for each in event.kept
        )
        super()._on_submitted(msgspec.structs.replace(event, kept=kept))


RESUMPTION_FAULTS = {
    # Keeps results that were made of runs which are made again.
    "KeptThoughReadAnew": (Keeping, "_is_read_as_before", lambda self, stage: True),
}
"""Functions that are replaced."""
