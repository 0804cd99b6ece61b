"""Beginnings of datasets: files of each format, and items in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from mrcore.client.option_values import path_text
from mrcore.dataset.dataset import Dataset
from mrcore.dataset.nodes import Source
from mrcore.dataset.pipeline import Lift
from mrcore.engine.items import pickled_items
from mrcore.errors import UsageError
from mrcore.model.formats import PICKLE
from mrcore.util.texts import text_of

Paths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
_SHOWN_PATHS: Final = 3


def read_text(paths: Paths) -> Dataset:
    """Return the lines of text files, without their ends.

    `paths` is a file, a folder, a pattern or a prefix of a bucket, or a list of such. Files that
    are compressed by gzip, bzip2, zstd, xz or lz4 are decompressed.
    """
    return _files("read_text", "text", paths)


def read_jsonl(paths: Paths) -> Dataset:
    """Return what the JSON of each line says; see `read_text`."""
    return _files("read_jsonl", "jsonl", paths)


def read_csv(paths: Paths) -> Dataset:
    """Return the rows of csv files with headers, as dicts of texts; see `read_text`."""
    return _files("read_csv", "csv", paths)


def read_tsv(paths: Paths) -> Dataset:
    """Return the rows of files with tabs and headers, as dicts of texts; see `read_text`."""
    return _files("read_tsv", "tsv", paths)


def read_parquet(paths: Paths) -> Dataset:
    """Return the rows of parquet files as dicts; see `read_text`.

    A column by which a folder is partitioned is in the names of its files, not in the rows.
    """
    return _files("read_parquet", "parquet", paths)


def read_files(paths: Paths) -> Dataset:
    """Return pairs of each file's name and its text; see `read_text`."""
    return _files("read_files", "whole", paths, Lift.PAIR)


def read_batches(paths: Paths) -> Dataset:
    """Return Arrow record batches of csv, jsonl and parquet files, for `map_batches`."""
    return _files("read_batches", "arrow", paths, Lift.BATCH)


def from_items(items: Iterable[Any]) -> Dataset:
    """Return a dataset of items in memory; raise PicklingError for one that cannot travel."""
    if isinstance(items, str | bytes) or not isinstance(items, Iterable):
        raise UsageError(
            f"from_items needs a list or another iterable of items. It got {text_of(items, repr)}."
        )
    given = list(items)
    data = pickled_items(given)
    title = f"from_items({len(given):,} item{'' if len(given) == 1 else 's'})"
    return Dataset(Source(title=title, format=PICKLE, items=data))


def _files(name: str, input_format: str, paths: Paths, lift: Lift = Lift.VALUE) -> Dataset:
    given: Iterable[object] = (paths,) if isinstance(paths, str | os.PathLike) else paths
    if not isinstance(given, Iterable):
        raise UsageError(f"{name} needs a path, or a list of paths. It got {paths!r}.")
    found = tuple(path_text(name, path) for path in given)
    if not found:
        raise UsageError(f"{name} needs at least one path. It got none.")
    more = f", and {len(found) - _SHOWN_PATHS:,} more" if len(found) > _SHOWN_PATHS else ""
    title = f"{name}({', '.join(found[:_SHOWN_PATHS])}{more})"
    return Dataset(Source(title=title, format=input_format, lift=lift, paths=found))
