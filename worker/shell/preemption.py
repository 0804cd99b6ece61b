"""The preemption notice of Compute Engine: 30 seconds to leave.

The metadata server answers a hanging GET when the value changes from what the `ETag` of the last
answer stood for; the thread that waits for it is a daemon, since nothing can wake it.
"""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from mrcore.util.clock import Clock

NOTICE_SECONDS: Final = 25.0
"""From the notice to the end of the machine, with a margin."""
DEFAULT_HOST: Final = "metadata.google.internal"
_PATH: Final = "/computeMetadata/v1/instance/preempted"
_PARK_SECONDS: Final = 60
_CALL_SECONDS: Final = 90.0
PAUSE_SECONDS: Final = 0.5
"""Between calls that failed. As long as this a notice may go unheard, of the two seconds in which
it has to reach the master."""

log = logging.getLogger("mrcore.worker")


def watch(host: str, clock: Clock, on_notice: Callable[[], None]) -> None:
    """Call `on_notice` from a thread, once, when this machine is about to be taken away."""
    thread = threading.Thread(
        target=wait, args=(host, clock, on_notice), name="preemption-notice", daemon=True
    )
    thread.start()


def wait(host: str, clock: Clock, on_notice: Callable[[], None]) -> None:
    """Block until this machine is to be taken away, then call `on_notice`; never raise."""
    complained = False
    etag = ""
    while True:
        try:
            preempted, etag = ask(host, etag)
        except (OSError, http.client.HTTPException) as error:
            if not complained:
                log.warning("the metadata server at %s does not answer: %s", host, error)
            complained = True
            clock.sleep(PAUSE_SECONDS)
            continue
        if preempted:
            on_notice()
            return


def ask(host: str, etag: str) -> tuple[bool, str]:
    """Return whether this machine is preempted, and the ETag of that answer.

    With the `etag` of the last answer, wait until the value is another, for at most a minute. The
    first call has none and does not wait: a change before it would never be reported again.
    """
    path = _PATH
    if etag:
        path += f"?wait_for_change=true&timeout_sec={_PARK_SECONDS}&last_etag={quote(etag)}"
    connection = http.client.HTTPConnection(host, timeout=_CALL_SECONDS)
    try:
        connection.request("GET", path, headers={"Metadata-Flavor": "Google"})
        response = connection.getresponse()
        body = response.read(64)
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise http.client.HTTPException(f"status {response.status}")
    found = response.getheader("ETag")
    if not found:
        raise http.client.HTTPException("an answer without ETag")
    return body.strip() == b"TRUE", found
