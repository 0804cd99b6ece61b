"""Shapes of jobs, for tests of the machine."""

from __future__ import annotations

from mrcore.model.stages import Part, Run, Runs, Splits, StagePlan


def two_stages(maps: int, reduces: int) -> tuple[StagePlan, ...]:
    """Return the stages of a job of maps and reduces; of maps alone where there are no reduces."""
    if not reduces:
        return (StagePlan(maps, Splits(), Part()),)
    return (StagePlan(maps, Splits(), Run()), StagePlan(reduces, Runs((0,)), Part()))
