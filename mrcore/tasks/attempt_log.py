"""Where the output of user code goes when its attempt is over."""

from __future__ import annotations

import logging
from typing import Final

from mrcore import layout
from mrcore.errors import StorageError
from mrcore.ids import AttemptId
from mrcore.storage.base import ABSENT
from mrcore.storage.registry import storage_for

MAX_LOG_BYTES: Final = 16 << 20
"""What is kept of the output of one attempt: its end."""


def store_log(state_uri: str, attempt: AttemptId, text: bytes) -> None:
    """Store what an attempt printed; a store that refuses costs the log, not the attempt."""
    uri = layout.log_uri(state_uri, attempt)
    try:
        with storage_for(uri).open_write(uri, expect=ABSENT) as writer:
            writer.write(text)
            writer.commit()
    except StorageError as error:
        logging.getLogger("mrcore").warning("The log of %s could not be stored: %s", attempt, error)
