"""MapReduce for people who write Python."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrcore.aggregates import count as count
    from mrcore.aggregates import max as max  # noqa: A004 - it is mrcore.max
    from mrcore.aggregates import min as min  # noqa: A004 - it is mrcore.min
    from mrcore.aggregates import sum as sum  # noqa: A004 - it is mrcore.sum
    from mrcore.client import Client as Client
    from mrcore.errors import MrcoreError as MrcoreError
    from mrcore.errors import UsageError as UsageError
    from mrcore.session import Result as Result
    from mrcore.session import RunFailedError as RunFailedError
    from mrcore.session import run as run

__version__ = "0.1.0"

_PUBLIC = {
    "Client": "mrcore.client",
    "MrcoreError": "mrcore.errors",
    "Result": "mrcore.session",
    "RunFailedError": "mrcore.session",
    "UsageError": "mrcore.errors",
    "count": "mrcore.aggregates",
    "max": "mrcore.aggregates",
    "min": "mrcore.aggregates",
    "run": "mrcore.session",
    "sum": "mrcore.aggregates",
}
"""Where the public names lie. They are imported when first used, so that `import mrcore` is light:
a child that runs tasks never loads the client."""


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mrcore' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
