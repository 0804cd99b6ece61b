"""Word count by other systems, each by its own best idiom, against ours."""

from __future__ import annotations

import sys
from typing import Final

from bench import data, peers
from bench.cases.words import ARROW, BLOCKS
from bench.rows import Row, Target
from bench.site import Bench, ratio, same_lines

PYTHON: Final = ("dask", "lithops", "ray", "pyspark", "mrjob")
"""Systems that call a Python function for the records: compared with a Counter a block."""
NATIVE: Final = ("duckdb", "polars")
"""Systems that are given whole columns: compared with Arrow batches."""
SYSTEMS: Final = (*PYTHON, *NATIVE)


def against(name: str, bench: Bench) -> list[Row]:
    """Count words by another system, if it is installed, and by ours in turn."""
    python = peers.installed(bench.home, name)
    if python is None:
        print(f"bench: {name} is not installed; --peers does that", file=sys.stderr)
        return []
    native = name in NATIVE
    plugin = "examples/wordcount_arrow.py" if native else "bench/plugins/wordcount_blocks.py"
    options = ARROW if native else BLOCKS
    folder = data.words(bench.home, bench.sizes.text_mib)
    other = peers.run_of(python, f"{name}_wordcount.py", bench.other_output, folder)
    ours, theirs = bench.in_turn(
        lambda: bench.job("words", plugin, folder, *options), [other], same_lines
    )
    target = Target(None) if native else Target(1.0)
    return [ratio(f"word count against {name}", ours, theirs, name, target)]
