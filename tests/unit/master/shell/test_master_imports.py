"""Modules that a master loads: its start is part of every small job's time."""

from __future__ import annotations

import subprocess
import sys


def test_a_master_loads_neither_arrow_nor_the_cloud() -> None:
    modules = "mrcore.master.daemon, mrcore.tasks.plan, mrcore.output.commit, mrcore.shuffle.ranges"
    heavy = "('pyarrow', 'numpy', 'google.cloud', 'cryptography', 'rich', 'click')"
    code = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_wrong_option_is_told_before_anything_heavy_is_loaded() -> None:
    code = (
        "import sys; from mrcore.master.main import main\n"
        "print(main(['--listen', '0.0.0.0:1']), 'grpc' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "2 False"
