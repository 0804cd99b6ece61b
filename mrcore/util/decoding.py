"""Errors of stored bytes that cannot be decoded."""

from __future__ import annotations

from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Errors that msgspec raises for damaged bytes: text may be no UTF-8, and lists too deep."""
