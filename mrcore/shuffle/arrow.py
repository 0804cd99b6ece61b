"""pyarrow as the shuffle sees it: columns whose type is only known while the job runs.

The published stubs tell arrays of each type apart by dozens of overloads, which is of no use where
any type may come; so here they are plain objects to the type checker.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy.ma  # noqa: F401 - `pyarrow.array` asks for it
import pyarrow
import pyarrow.compute

pa: Any = pyarrow
pc: Any = pyarrow.compute

Array: TypeAlias = Any
"""A `pyarrow.Array`."""
DataType: TypeAlias = Any
"""A `pyarrow.DataType`."""
RecordBatch: TypeAlias = Any
"""A `pyarrow.RecordBatch` (or a Table, where a user gave one)."""
