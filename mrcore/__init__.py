"""MapReduce for people who write Python."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # type checkers take it for true; the module typing is slow to import
if TYPE_CHECKING:
    from typing import Any

    from mrcore.cluster.client import Client as Client
    from mrcore.cluster.connecting import connect as connect
    from mrcore.cluster.executor import ClusterExecutor as ClusterExecutor
    from mrcore.cluster.futures import CallFuture as CallFuture
    from mrcore.cluster.jobs import JobFuture as JobFuture
    from mrcore.cluster.local import LocalCluster as LocalCluster
    from mrcore.cluster.mapping import MapResult as MapResult
    from mrcore.cluster.monitor import Monitor as Monitor
    from mrcore.cluster.scattered import Scattered as Scattered
    from mrcore.cluster.status import Status as Status
    from mrcore.cluster.tables import Table as Table
    from mrcore.dataset.dataset import Dataset as Dataset
    from mrcore.dataset.sources import from_items as from_items
    from mrcore.dataset.sources import read_batches as read_batches
    from mrcore.dataset.sources import read_csv as read_csv
    from mrcore.dataset.sources import read_files as read_files
    from mrcore.dataset.sources import read_jsonl as read_jsonl
    from mrcore.dataset.sources import read_parquet as read_parquet
    from mrcore.dataset.sources import read_text as read_text
    from mrcore.dataset.sources import read_tsv as read_tsv
    from mrcore.engine.api import Result as Result
    from mrcore.engine.api import RunFailedError as RunFailedError
    from mrcore.engine.api import run as run
    from mrcore.errors import ClusterUnreachableError as ClusterUnreachableError
    from mrcore.errors import MrcoreError as MrcoreError
    from mrcore.errors import PicklingError as PicklingError
    from mrcore.errors import RemoteError as RemoteError
    from mrcore.errors import UsageError as UsageError
    from mrcore.model.job import JobState as JobState
    from mrcore.model.job import TaskState as TaskState
    from mrcore.model.snapshots import AttemptLog as AttemptLog
    from mrcore.model.snapshots import JobView as JobView
    from mrcore.model.snapshots import TaskView as TaskView
    from mrcore.model.snapshots import WorkerView as WorkerView
    from mrcore.plugin.aggregates import count as count
    from mrcore.plugin.aggregates import max as max  # noqa: A004 - it is mrcore.max
    from mrcore.plugin.aggregates import min as min  # noqa: A004 - it is mrcore.min
    from mrcore.plugin.aggregates import sum as sum  # noqa: A004 - it is mrcore.sum
    from mrcore.plugin.inputs import Input as Input
    from mrcore.plugin.steps import Step as Step
    from mrcore.plugin.words import count_words as count_words

__version__ = "0.1.0"

_PUBLIC = {
    "AttemptLog": "mrcore.model.snapshots",
    "CallFuture": "mrcore.cluster.futures",
    "Client": "mrcore.cluster.client",
    "ClusterExecutor": "mrcore.cluster.executor",
    "ClusterUnreachableError": "mrcore.errors",
    "Dataset": "mrcore.dataset.dataset",
    "Input": "mrcore.plugin.inputs",
    "JobFuture": "mrcore.cluster.jobs",
    "JobState": "mrcore.model.job",
    "JobView": "mrcore.model.snapshots",
    "LocalCluster": "mrcore.cluster.local",
    "MapResult": "mrcore.cluster.mapping",
    "Monitor": "mrcore.cluster.monitor",
    "MrcoreError": "mrcore.errors",
    "PicklingError": "mrcore.errors",
    "RemoteError": "mrcore.errors",
    "Result": "mrcore.engine.api",
    "RunFailedError": "mrcore.engine.api",
    "Scattered": "mrcore.cluster.scattered",
    "Status": "mrcore.cluster.status",
    "Step": "mrcore.plugin.steps",
    "Table": "mrcore.cluster.tables",
    "TaskState": "mrcore.model.job",
    "TaskView": "mrcore.model.snapshots",
    "UsageError": "mrcore.errors",
    "WorkerView": "mrcore.model.snapshots",
    "connect": "mrcore.cluster.connecting",
    "count": "mrcore.plugin.aggregates",
    "count_words": "mrcore.plugin.words",
    "from_items": "mrcore.dataset.sources",
    "max": "mrcore.plugin.aggregates",
    "min": "mrcore.plugin.aggregates",
    "read_batches": "mrcore.dataset.sources",
    "read_csv": "mrcore.dataset.sources",
    "read_files": "mrcore.dataset.sources",
    "read_jsonl": "mrcore.dataset.sources",
    "read_parquet": "mrcore.dataset.sources",
    "read_text": "mrcore.dataset.sources",
    "read_tsv": "mrcore.dataset.sources",
    "run": "mrcore.engine.api",
    "sum": "mrcore.plugin.aggregates",
}
"""Modules of the public names. They are imported when first used, so that `import mrcore` is light:
a child that runs tasks never loads the client."""


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mrcore' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *_PUBLIC})
