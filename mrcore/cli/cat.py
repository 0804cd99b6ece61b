"""`mrcore cat`: print an output as text."""

from __future__ import annotations

import signal
import sys

import click

from mrcore.cli import base


@base.command()
@click.argument("output", type=base.FOLDER, metavar="OUT")
def command(output: str) -> int:
    """Print all parts of an output in order, decompressed, as text.

    A Parquet row is printed as key, tab, value. The header of csv and tsv parts is printed once.
    `mrcore cat OUT | head` stops early.
    """
    from mrcore.output.reading import output_chunks

    try:
        for chunk in output_chunks(base.folder_uri(output)):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        return 128 + signal.SIGPIPE  # the reader has closed the pipe; cat(1) ends the same way
    return 0
