"""Errors of a master that the rest of the project never sees."""

from __future__ import annotations

from mrcore.errors import MrcoreError


class FencedError(MrcoreError):
    """Another master has taken over: this one must do nothing more."""

    exit_code = 4
