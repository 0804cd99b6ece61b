"""CPU time of each test and fixture with all processes that it starts: `scripts/test --costs`.

It is measured by a cgroup (version 1, `cpuacct`; needs root), since daemons outlive tests and are
not waited for. Times on a busy machine vary; CPU time does so less.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

SHOWN = 40
_GROUPS = Path("/sys/fs/cgroup/cpuacct")
_RESULT = "costs"


class Costs:
    """The plugin: seconds by test and by fixture, of this process and of those of xdist."""

    def __init__(self) -> None:
        self._before = _GROUPS / _group_of_this_process()
        self._group = _GROUPS / f"mrcore-costs-{os.getpid()}"
        self.tests: defaultdict[str, float] = defaultdict(float)
        self.fixtures: defaultdict[str, float] = defaultdict(float)

    def pytest_sessionstart(self) -> None:
        self._group.mkdir()
        (self._group / "cgroup.procs").write_text(str(os.getpid()))

    def _seconds(self) -> float:
        return int((self._group / "cpuacct.usage").read_text()) / 1e9

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        before = self._seconds()
        result = yield
        self.tests[item.nodeid] += self._seconds() - before
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, Any, Any]:
        before = self._seconds()
        result = yield
        place = request.node.nodeid.partition("::")[0]
        self.fixtures[f"{place} {fixturedef.argname}"] += self._seconds() - before
        return result

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        (self._before / "cgroup.procs").write_text(str(os.getpid()))
        with contextlib.suppress(OSError):  # something that the tests have started lives on
            self._group.rmdir()
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_RESULT] = [dict(self.tests), dict(self.fixtures)]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        tests, fixtures = getattr(node, "workeroutput", {}).get(_RESULT, ({}, {}))
        _add(self.tests, tests)
        _add(self.fixtures, fixtures)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        folders: defaultdict[str, float] = defaultdict(float)
        for name, seconds in self.tests.items():
            folders["/".join(name.partition("::")[0].split("/")[:-1])] += seconds
        for what, found in (
            ("folders", folders), ("tests, with their fixtures", self.tests),
            ("fixtures", self.fixtures),
        ):  # fmt: skip
            terminalreporter.section(f"CPU seconds of {what}")
            for name, seconds in sorted(found.items(), key=_seconds_of)[:SHOWN]:
                terminalreporter.write_line(f"{seconds:9.2f}  {name}")


def _group_of_this_process() -> str:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    fields = (line.split(":", 2) for line in lines)
    return next(path.lstrip("/") for _, names, path in fields if "cpuacct" in names.split(","))


def _add(total: defaultdict[str, float], more: Mapping[str, float]) -> None:
    for name, seconds in more.items():
        total[name] += seconds


def _seconds_of(item: tuple[str, float]) -> float:
    return -item[1]


def pytest_configure(config: pytest.Config) -> None:
    if not os.access(_GROUPS / "cgroup.procs", os.W_OK):
        raise pytest.UsageError("--costs needs root, and a cgroup of version 1 for CPU time.")
    config.pluginmanager.register(Costs(), "costs of tests")
