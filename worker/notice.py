"""The preemption notice of Compute Engine: 30 seconds to leave.

The metadata server answers a hanging GET when the value changes; the thread that waits for it is a
daemon, since nothing can wake it.
"""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Callable
from typing import Final

from mrcore.clock import Clock

NOTICE_SECONDS: Final = 25.0
"""From the notice to the end of the machine, with a margin."""
DEFAULT_HOST: Final = "metadata.google.internal"
_PATH: Final = "/computeMetadata/v1/instance/preempted?wait_for_change=true&timeout_sec=60"
_CALL_SECONDS: Final = 90.0
_PAUSE_SECONDS: Final = 5.0

log = logging.getLogger("worker")


def watch(host: str, clock: Clock, on_notice: Callable[[], None]) -> None:
    """Call `on_notice` from a thread, once, when this machine is about to be taken away."""
    thread = threading.Thread(
        target=_wait, args=(host, clock, on_notice), name="preemption-notice", daemon=True
    )
    thread.start()


def _wait(host: str, clock: Clock, on_notice: Callable[[], None]) -> None:
    complained = False
    while True:
        try:
            if ask(host):
                on_notice()
                return
        except (OSError, http.client.HTTPException) as error:
            if not complained:
                log.warning("the metadata server at %s does not answer: %s", host, error)
            complained = True
            clock.sleep(_PAUSE_SECONDS)


def ask(host: str) -> bool:
    """Wait until the value changes, for at most a minute; tell whether it says preempted."""
    connection = http.client.HTTPConnection(host, timeout=_CALL_SECONDS)
    try:
        connection.request("GET", _PATH, headers={"Metadata-Flavor": "Google"})
        response = connection.getresponse()
        body = response.read(64)
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise http.client.HTTPException(f"status {response.status}")
    return body.strip() == b"TRUE"
