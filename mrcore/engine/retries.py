"""Retries of one task of the inline engine: they find the records to skip."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from mrcore.model.job import JobSpec
from mrcore.model.skipping import FAILURES_TO_SKIP, skip_at
from mrcore.model.task import Mark, Skip, TaskFailure


@dataclass
class Retries:
    """Failures of one task, counted by the rules of a master.

    Only a job that may skip records has retries here: all else would fail alike in this process.
    """

    spec: JobSpec
    skip: tuple[Skip, ...] = ()
    """Records that the next attempt leaves out."""
    careful: bool = False
    """Whether the next attempt takes each record, key and pair by itself."""
    _failures: int = 0
    """Failures since a record was last given up."""
    _culprits: Counter[Mark] = field(default_factory=Counter)

    def may_follow(self, failure: TaskFailure, leave: int) -> bool:
        """Count a failure, and return whether another attempt follows.

        `leave` is the number of records that this task may skip, all in all.
        """
        # What a careful attempt cannot place fails alike each time.
        is_placed = failure.mark is not None or (failure.skippable and not self.careful)
        if not is_placed or not self.spec.max_bad_records:
            return False
        self.careful = True
        self._failures += 1
        if failure.mark is None:
            return self._failures < self.spec.max_attempts
        self._culprits[failure.mark] += 1
        if self._culprits[failure.mark] >= FAILURES_TO_SKIP and len(self.skip) < leave:
            self.skip = (*self.skip, skip_at(failure.mark, failure))
            self._failures = 0
            return True
        return self._failures < self.spec.max_attempts
