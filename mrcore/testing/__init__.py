"""Unit tests of jobs: `run` a plugin or a dataset in memory, and a fixture for a cluster.

from mrcore.testing import run

assert run("wc.py", ["a b", "a"]) == [("a", 2), ("b", 1)]
"""

from mrcore.testing.runs import run

__all__ = ["run"]
