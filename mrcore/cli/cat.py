"""`mrcore cat`: print an output as text."""

from __future__ import annotations

import signal
import sys

import click

from mrcore.cli import base


@base.command()
@click.argument("output", type=base.FOLDER, metavar="OUT")
def command(output: str) -> None:
    """Print an output as text: all parts in order, decompressed.

    Parquet rows are printed as key, tab, value. `mrcore cat OUT | head` is fine.
    """
    from mrcore.reading import output_chunks

    # A reader that has seen enough ends this process, as it would end cat(1).
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for chunk in output_chunks(base.folder_uri(output)):
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()
