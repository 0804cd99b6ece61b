"""Sizes of slots. It imports nothing: the start of a command reads it first."""

from __future__ import annotations

from typing import Final

AMPLE_BYTES: Final = 1 << 30
"""Memory of a task above which the reserves of allocators do not matter."""
