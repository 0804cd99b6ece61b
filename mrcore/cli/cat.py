"""`mrcore cat`: print an output as text."""

from __future__ import annotations

import signal
import sys

import click

from mrcore.cli import base


@base.command()
@click.argument("output", type=base.FOLDER, metavar="OUT")
def command(output: str) -> int:
    """Print an output as text: all parts in order, decompressed.

    Parquet rows are printed as key, tab, value. `mrcore cat OUT | head` is fine.
    """
    from mrcore.output.reading import output_chunks

    try:
        for chunk in output_chunks(base.folder_uri(output)):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        return 128 + signal.SIGPIPE  # a reader that has seen enough: what ends cat(1), too
    return 0
