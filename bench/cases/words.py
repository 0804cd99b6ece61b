"""Word counts and an inverted index against hand-written scripts, and against DuckDB."""

from __future__ import annotations

from typing import Final

from bench import data, peers
from bench.rows import Row, Target
from bench.site import Bench, ratio, same_lines

BLOCKS: Final = ("--input-format", "blocks")
ARROW: Final = ("--input-format", "arrow")


def generator(bench: Bench) -> list[Row]:
    """Count words by a plain generator, against the same generator in a script."""
    return [
        _by_hand(
            bench,
            "word count, generator and combine",
            "bench/plugins/wordcount.py",
            (),
            "wordcount_generator.py",
            Target(0.9, 1.0),
        )
    ]


def finish(bench: Bench) -> list[Row]:
    """Count words in a Counter of the module that `map_finish` emits, against a Counter."""
    return [
        _by_hand(
            bench,
            "word count, Counter and map_finish",
            "bench/plugins/wordcount_finish.py",
            BLOCKS,
            "wordcount_counter.py",
            Target(0.9, 1.1),
        )
    ]


def blocks(bench: Bench) -> list[Row]:
    """Count words by a map that returns a Counter for each block of lines, against a Counter."""
    return [
        _by_hand(
            bench,
            "word count, a Counter a block",
            "bench/plugins/wordcount_blocks.py",
            BLOCKS,
            "wordcount_counter.py",
            Target(0.8, 1.0),
        )
    ]


def _by_hand(
    bench: Bench, name: str, plugin: str, options: tuple[str, ...], script: str, target: Target
) -> Row:
    folder = data.words(bench.home, bench.sizes.text_mib)
    ours, other = bench.in_turn(
        lambda: bench.job("words", plugin, folder, *options),
        [bench.by_hand(script, folder)],
        same_lines,
    )
    return ratio(name, ours, other, "by hand", target)


def arrow(bench: Bench) -> list[Row]:
    """Count words by Arrow's kernels, against a Counter by hand and against DuckDB."""
    folder = data.words(bench.home, bench.sizes.text_mib)
    others = [bench.by_hand("wordcount_counter.py", folder)]
    duckdb = peers.installed(bench.home, "duckdb")
    if duckdb is not None:
        others.append(peers.run_of(duckdb, "duckdb_wordcount.py", bench.other_output, folder))
    ours, *theirs = bench.in_turn(
        lambda: bench.job("words", "examples/wordcount_arrow.py", folder, *ARROW),
        others,
        same_lines,
    )
    rows = [ratio("word count, arrow", ours, theirs[0], "by hand", Target(2.0, 3.0))]
    if duckdb is not None:
        name = "word count, arrow, against DuckDB"
        rows.append(ratio(name, ours, theirs[1], "DuckDB", Target(0.6, 1.0)))
    return rows


def many_words(bench: Bench) -> list[Row]:
    """Count words that are nearly all different, against a script with partitions."""
    folder = data.keys(bench.home, bench.sizes.many_words)
    ours, other = bench.in_turn(
        lambda: bench.job("words", "bench/plugins/wordcount.py", folder, "-r", "4"),
        [bench.by_hand("wordcount_partitions.py", folder)],
        same_lines,
    )
    name = f"{bench.sizes.many_words:,} different words"
    return [ratio(name, ours, other, "by hand", Target(1.5, 2.0))]


def index(bench: Bench) -> list[Row]:
    """List the files of each word, against a script."""
    folder = data.words(bench.home, bench.sizes.index_mib)
    ours, other = bench.in_turn(
        lambda: bench.job("index", "bench/plugins/inverted_index.py", folder, *BLOCKS),
        [bench.by_hand("inverted_index.py", folder)],
        same_lines,
    )
    name = f"inverted index, {bench.sizes.index_mib} MiB"
    return [ratio(name, ours, other, "by hand", Target(0.8, 1.0))]
