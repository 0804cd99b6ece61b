"""Edges of the machine that need limits of their own; told in the words of the scenarios."""

from __future__ import annotations

from master.limits import Limits
from tests.scenario.script import Script


def played(script: Script, *lines: str) -> list[str]:
    """Obey lines; return what the machine answered to all of them."""
    return [said for line in lines for said in script.obey(line)]


def test_two_losses_in_one_report_end_the_job_and_not_the_master() -> None:
    script = Script(Limits(losses_max=1, reads_max=1))
    said = played(
        script,
        "submit j maps=2 reduces=1",
        "sync w1 slots=2",
        "sync w1 done:j/map-0@1.1:a done:j/map-1@1.2:b",
        "sync w1 unread:j/reduce-0@1.3:0,1",
    )
    assert "fact WinnerLost j/map-0@1.1: 1 reads failed" in said
    assert [line for line in said if line.startswith("fact JobEnded j failed")]
    assert not [line for line in said if "map-1@1.2:" in line and "WinnerLost" in line]
