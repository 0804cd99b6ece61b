"""MapReduce for people who write Python."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrcore.client.client import MasterClient
    from mrcore.engine.api import Result as Result
    from mrcore.engine.api import RunFailedError as RunFailedError
    from mrcore.engine.api import run as run
    from mrcore.errors import MrcoreError as MrcoreError
    from mrcore.errors import UsageError as UsageError
    from mrcore.plugin.aggregates import count as count
    from mrcore.plugin.aggregates import max as max  # noqa: A004 - it is mrcore.max
    from mrcore.plugin.aggregates import min as min  # noqa: A004 - it is mrcore.min
    from mrcore.plugin.aggregates import sum as sum  # noqa: A004 - it is mrcore.sum
    from mrcore.plugin.inputs import Input as Input
    from mrcore.plugin.steps import Step as Step

    Client = MasterClient

__version__ = "0.1.0"

_PUBLIC = {
    "Client": "mrcore.client.client:MasterClient",
    "Input": "mrcore.plugin.inputs",
    "MrcoreError": "mrcore.errors",
    "Result": "mrcore.engine.api",
    "RunFailedError": "mrcore.engine.api",
    "Step": "mrcore.plugin.steps",
    "UsageError": "mrcore.errors",
    "count": "mrcore.plugin.aggregates",
    "max": "mrcore.plugin.aggregates",
    "min": "mrcore.plugin.aggregates",
    "run": "mrcore.engine.api",
    "sum": "mrcore.plugin.aggregates",
}
"""Where the public names lie. They are imported when first used, so that `import mrcore` is light:
a child that runs tasks never loads the client."""


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mrcore' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
