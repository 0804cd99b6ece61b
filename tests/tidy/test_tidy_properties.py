"""No property has a time to keep: what a busy machine decides is nothing that a change broke."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, settings

from tests.support.repository import ROOT
from tests.tidy.tree import python_files, shown

OWN_LIMIT = re.compile(r"\bsettings\([^)]*\bdeadline=")


def test_the_profile_of_all_properties_knows_no_time() -> None:
    # New settings begin as the profile that is loaded, whatever a CI service's variables say.
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings().suppress_health_check


def test_no_property_has_a_limit_of_its_own() -> None:
    tests = [p for p in python_files() if "tests" in p.relative_to(ROOT).parts]
    assert not [shown(p) for p in tests if OWN_LIMIT.search(p.read_text())]
