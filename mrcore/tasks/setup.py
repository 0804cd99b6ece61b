"""The call of the user's `setup`: once in each process of a job."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping

from mrcore.plugin.context import Context
from mrcore.plugin.functions import UserFunctions
from mrcore.plugin.running import running
from mrcore.shuffle.user_code import USER_EXCEPTIONS, UserCodeError


class Setup:
    """State of a job that one process keeps for all of its tasks: the context, after `setup`.

    Users load a model in `setup`, which may take minutes, and keep the context in a global.
    """

    def __init__(self, functions: UserFunctions, params: Mapping[str, str]) -> None:
        self._function = functions.shared.get("setup")
        self._context = Context(task="", params=params, files_folder=functions.files_folder)
        self.done = False
        """Whether `setup` has been called, and returned."""
        self._folder: str | None = None
        """The current folder that each task starts in."""

    def begin(self, task: str, on_status: Callable[[str], None]) -> Context:
        """Return the context for a task; raise UserCodeError, and call `setup` again the next time.

        What `setup` counts or shows is the first task's. A task that changes the current folder
        changes it for itself.
        """
        self._context.begin_task(task, on_status)
        # To ask is cheaper than to change, and hardly any task changes it.
        here = _current_folder()
        if self._folder is not None and here != self._folder:
            with contextlib.suppress(OSError):
                os.chdir(self._folder)
            here = _current_folder()
        if not self.done:
            self._call()
            self.done = True
            here = _current_folder()
        if here is not None:
            self._folder = here
        return self._context

    def _call(self) -> None:
        if self._function is None:
            return
        try:
            with running("setup"):
                self._function(self._context)
        except USER_EXCEPTIONS as error:
            raise UserCodeError.raised("setup", error) from error


def _current_folder() -> str | None:
    """Return the current folder; None where somebody has removed it."""
    try:
        return os.getcwd()  # noqa: PTH109 - a text is compared for each task
    except OSError:
        return None
