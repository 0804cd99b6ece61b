"""`runner.py DESCRIPTOR`: `mrcore` as a loaded program, for calls that no signal reaches.

A signal to the terminal of the client reaches the client only, which ends, and kills the call.
"""

import socket
import sys

from mrcore.cli import main
from tests.cloud.loaded import forks

USUAL = """
google.cloud.storage
mrcore.gce.commands.audit mrcore.gce.commands.down mrcore.gce.commands.gc mrcore.gce.commands.run
mrcore.gce.commands.scale mrcore.gce.commands.status mrcore.gce.commands.up
mrcore.storage.gcs.store
"""


class Runner:
    """The command line of mrcore."""

    def run(self) -> object:
        main.main()
        return None

    def lesson(self) -> str:
        return ""

    def learn(self, lesson: str) -> None:
        """Learn nothing but modules."""


if __name__ == "__main__":
    forks.serve(socket.socket(fileno=int(sys.argv[1])), Runner(), USUAL)
