"""A server of the JSON API of Google Cloud Storage, in memory, for tests.

It keeps the parts of the API that mrcore and `gcloud storage` use, with generations and
preconditions on every verb, and can be made to misbehave (`tests.gcsserver.faults`).

    with GcsServer() as server:                      # in this process
        server.store.create_bucket("b")
        os.environ["STORAGE_EMULATOR_HOST"] = server.url

    python -m tests.gcsserver --port 0 --ready-fd 1  # as a process
"""

from tests.gcsserver.faults import Fault
from tests.gcsserver.server import GcsServer

__all__ = ["Fault", "GcsServer"]
