"""Replacement of this process by a daemon; the library imports neither master nor worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from mrcore.engine.daemons import daemon_command
from mrcore.engine.launched import daemon_environment


def pass_through() -> dict[str, Any]:
    """Return click settings that pass all arguments on, including `--help`."""
    return {
        "add_help_option": False,
        "context_settings": {"ignore_unknown_options": True, "allow_interspersed_args": False},
    }


def become(module: str, arguments: Sequence[str]) -> NoReturn:
    """Replace this process by `python -P -m module arguments`."""
    os.execve(sys.executable, daemon_command(module, arguments), daemon_environment())
