"""Requests to go on with a job, the same from the API and the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from mrcore.client.versions import versions
from mrcore.model.snapshots import JobView
from mrcore.rpc.convert_resume import Wanted, values_of


class Asked(msgspec.Struct, frozen=True):
    """A job to go on with, and the bundle of its mended code."""

    wanted: Wanted
    bundle: bytes = b""
    """Empty where the code is that of the job."""


class Resumed(msgspec.Struct, frozen=True):
    """A job that goes on with a former one."""

    job: JobView
    notes: tuple[str, ...]
    """Notes on what is kept and what is not, a sentence each."""


def ask(
    job_id: str,
    *,
    plugin: str | os.PathLike[str] | None = None,
    files: Sequence[str] = (),
    keep_results: Sequence[str] = (),
    cwd: Path,
    **options: Any,
) -> Asked:
    """Return a request, for which mended code is bundled and loaded once in a child process.

    `options` are those that results do not depend on, by name. Raises PluginError with the user's
    traceback, and UsageError for an option that cannot be changed.
    """
    keep, changes = tuple(keep_results), values_of(options)
    if plugin is None:
        return Asked(Wanted(job_id=job_id, keep_results=keep, changes=changes))
    from mrcore.plugin.bundle import build_bundle
    from mrcore.plugin.precheck import check_in_child

    bundle = build_bundle(os.fspath(plugin), files, cwd)
    wanted = Wanted(
        job_id=job_id,
        plugin=check_in_child(bundle),
        versions=versions(),
        keep_results=keep,
        changes=changes,
    )
    return Asked(wanted, bundle.data)
