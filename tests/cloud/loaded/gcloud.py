"""`gcloud.py DESCRIPTOR …/gcloud.py`: gcloud as a loaded program, under the interpreter it has."""

import importlib
import itertools
import socket
import sys
from pathlib import Path
from typing import Any

import forks  # type: ignore[import-not-found] # beside this script

USUAL = """
googlecloudsdk.api_lib.compute.instances.create.utils
googlecloudsdk.command_lib.compute.instance_templates.mesh_util
googlecloudsdk.command_lib.iam.iam_util
googlecloudsdk.command_lib.storage.iam_command_util
googlecloudsdk.generated_clients.apis.compute.v1.compute_v1_client
googlecloudsdk.generated_clients.apis.compute.alpha.compute_alpha_messages
googlecloudsdk.generated_clients.apis.compute.beta.compute_beta_messages
googlecloudsdk.generated_clients.apis.storage.v1.storage_v1_client
"""


class Gcloud:
    """The program, and its tree of commands, of which branches are loaded by need."""

    def __init__(self, path: str) -> None:
        sys.path.insert(0, str(Path(path).parent))
        self._program: Any = importlib.import_module("gcloud")
        entry: Any = importlib.import_module("googlecloudsdk.gcloud_main")
        line = entry.CreateCLI([])
        entry.CreateCLI = lambda *_: line
        self._commands = line.top_element

    def run(self) -> object:
        return self._program.main()

    def lesson(self) -> str:
        """Return the words of the command."""
        words = itertools.takewhile(lambda word: not word.startswith("-"), sys.argv[1:])
        return " ".join(words).replace("\n", " ")

    def learn(self, lesson: str) -> None:
        element = self._commands
        for word in lesson.split():
            element = element and element.LoadSubElement(word)


if __name__ == "__main__":
    forks.serve(socket.socket(fileno=int(sys.argv[1])), Gcloud(sys.argv[-1]), USUAL)
