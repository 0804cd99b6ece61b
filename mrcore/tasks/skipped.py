"""Records, keys and pairs that a task skips, and the means of its functions to find them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mrcore.model.skipping import task_skips_problem, trimmed
from mrcore.model.task import BadRecord, Mark, Skip, TaskSpec
from mrcore.plugin.context import Context
from mrcore.plugin.tracebacks import user_traceback
from mrcore.shuffle.user_code import UserCodeError
from mrcore.tasks.progress import ProgressSink


class TooManyBadError(UserCodeError):
    """A task meets more bad records than it may skip. It passes through the user's iterators."""

    def __init__(self, problem: str, last: str, error: Exception) -> None:
        """`problem` is what is wrong and what to do, `last` how the last record has failed."""
        raised = error.error if isinstance(error, UserCodeError) else None
        # With a key of its own, nobody on its way adds the key at work.
        super().__init__("", f"{problem} The last one: {last}.", error=raised, has_key=True)


class Skipped:
    """The records that one task has skipped so far."""

    def __init__(self, spec: TaskSpec) -> None:
        self._allowance = spec.job.max_bad_records
        self._found: list[BadRecord] = []

    def __len__(self) -> int:
        return len(self._found)

    @property
    def found(self) -> tuple[BadRecord, ...]:
        """Return what was skipped, in the order in which it was met."""
        return tuple(self._found)

    def add(self, bad: BadRecord) -> None:
        """Take in what the task is ordered to skip."""
        self._found.append(bad)

    def give_up(
        self, shown: str, offset: int, record: str, *, sentence: str, error: Exception
    ) -> None:
        """Skip what the user's code cannot take, as `sentence` and `error` have it.

        Raises TooManyBadError where no more may be skipped. More attempts would not help.
        """
        problem = task_skips_problem(len(self._found) + 1, self._allowance)
        if problem is not None:
            raise TooManyBadError(problem, sentence, error)
        raised = error.error if isinstance(error, UserCodeError) else None
        cause, traceback = trimmed(sentence, "" if raised is None else user_traceback(raised))
        self.add(BadRecord(shown, offset, cause, record, traceback))


@dataclass(frozen=True, slots=True)
class Guard:
    """Means of a task to find and skip what its functions cannot take."""

    spec: TaskSpec
    progress: ProgressSink
    context: Context
    skipped: Skipped
    careful: bool
    """Whether what raises is given up at once, since a former attempt has failed."""

    @property
    def marks(self) -> bool:
        """Return whether what is at work is noted, in case it kills the process."""
        return self.spec.mark_records

    def orders(self) -> Mapping[Mark, Skip]:
        """Return what the task is ordered to skip, by its mark."""
        return {skip.mark: skip for skip in self.spec.skip}
