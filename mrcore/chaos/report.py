"""Report of a rehearsal: what was done, what it cost, and whether all outputs were right."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from mrcore.chaos.core.costs import Blow, KindSum, sums_by_kind
from mrcore.chaos.core.strikes import Kind


class Verdict(enum.StrEnum):
    """Result of comparing one run of the job with the sequential run."""

    EQUAL = "equal"
    DIFFERENT = "different"
    FAILED = "failed"
    """It failed of a disaster, and says so."""
    FAILED_UNCLEARLY = "failed without a clear reason"


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the job."""

    run: int
    """Number from 1; 0 is the run without disasters."""
    job_id: str
    verdict: Verdict
    seconds: float
    name: str = ""
    """Name of the experiment, where it has one."""
    detail: str = ""
    """First difference, or why the job failed."""
    blows: tuple[Blow, ...] = ()
    missed: int = 0
    """Strikes that came too late."""
    storage_faults: int = 0
    """Operations of the store that failed or were slow."""
    other_failures: int = 0
    """Failed attempts that no blow at a process explains: those of the store and the disk."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole rehearsal."""

    seed: int
    sequential_seconds: float
    runs: tuple[RunReport, ...]
    repeat: str
    """Command that repeats it."""
    notes: tuple[str, ...] = ()
    """Sentences on what was done in another way than asked for."""

    @property
    def exit_code(self) -> int:
        """Return 0 where each run was equal or failed clearly, and at least one was equal."""
        struck = [run.verdict for run in self.runs if run.run]
        clear = {Verdict.EQUAL, Verdict.FAILED}
        quiet = [run.verdict for run in self.runs if not run.run]
        is_well = all(one is Verdict.EQUAL for one in quiet) and clear.issuperset(struck)
        return 0 if is_well and Verdict.EQUAL in struck else 1

    @property
    def quiet_seconds(self) -> float:
        """Return the time of the run without disasters; 0 where there was none."""
        return next((run.seconds for run in self.runs if not run.run), 0.0)

    @property
    def failed_by_themselves(self) -> int:
        """Return the number of attempts that failed and that no disaster can have met."""
        return sum(run.other_failures for run in self.runs if not run.storage_faults)

    def sums(self) -> list[KindSum]:
        """Return what each kind of disaster cost, those of the store included."""
        found = sums_by_kind(blow for run in self.runs for blow in run.blows)
        count = sum(run.storage_faults for run in self.runs)
        # Where the store did not fail, attempts have failed by themselves: at bad records, say.
        others = sum(run.other_failures for run in self.runs if run.storage_faults)
        if count:
            storage = KindSum(
                kind=Kind.STORAGE, count=count, attempts_lost=others, seconds_lost=0.0
            )
            found.append(storage)
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        for run in fields["runs"]:
            for blow in run["blows"]:
                blow["held"] = [one["name"] for one in blow["held"]]
        return {
            "equal": self.exit_code == 0,
            "faults": msgspec.to_builtins(self.sums()),
            "quiet_seconds": self.quiet_seconds,
            **fields,
        }
