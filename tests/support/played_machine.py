"""A master machine brought to a state by a few scripted events."""

from __future__ import annotations

from tests.scenario.script import Script


def played(script: Script, *lines: str) -> list[str]:
    """Obey lines; return what the machine answered to all of them."""
    return [said for line in lines for said in script.obey(line)]
