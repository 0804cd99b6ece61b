"""MapReduce for people who write Python."""

from __future__ import annotations

__version__ = "0.1.0"
