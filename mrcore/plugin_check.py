"""What `mrcore.bundle.check_in_child` runs: load a bundle once and tell what is in it.

    python -P -m mrcore.plugin_check FD < bundle

Writes one JSON object to the descriptor FD: the plugin's flags, or the sentence for the user.
Imports nothing heavy, since every `mrcore run` waits for it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from mrcore.errors import PluginError
from mrcore.plugin import load_bundle


def main() -> None:
    """Read a bundle from standard input and report on it."""
    report = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    os.set_inheritable(report.fileno(), False)
    data = sys.stdin.buffer.read()
    with tempfile.TemporaryDirectory(prefix="mrcore-check-") as folder:
        try:
            functions = load_bundle(data, Path(folder))
        except PluginError as error:
            json.dump({"error": str(error)}, report)
        else:
            flags = ("reduce", "combine", "partition", "sort_key")
            found = {f"has_{flag}": getattr(functions, flag) is not None for flag in flags}
            json.dump({"flags": found}, report)
        report.flush()
    # Threads that the plugin has started must not keep us.
    os._exit(0)


if __name__ == "__main__":
    main()
