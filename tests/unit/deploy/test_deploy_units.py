"""The units: systemd understands them, and they give user code as little as it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.repository import ROOT

UNITS = ROOT / "deploy/systemd"
SERVICES = sorted(UNITS.glob("*.service"))
DAEMONS = [UNITS / "mrcore-master.service", UNITS / "mrcore-worker@.service"]
EXPOSURE = 25
"""At most, in tenths: what systemd calls OK ends at 40, and medium at 70."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def settings(path: Path) -> dict[str, list[str]]:
    """Return the values of each setting of a unit, in order."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with systemd's own units, ours, and stand-ins for what these start."""
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(
        "/usr/lib/systemd/system",
        root / "usr/lib/systemd/system",
        symlinks=True,
        # Units of other packages may be wrong, or name what is not in this root.
        ignore=lambda folder, names: [name for name in names if name.endswith(".d")],
    )
    units = root / "etc/systemd/system"
    shutil.copytree(UNITS, units)
    for daemon in DAEMONS:
        folder = units / f"{daemon.name}.d"
        folder.mkdir()
        shutil.copy(ROOT / "deploy/vm/vm.conf", folder)
    shutil.copy(ROOT / "deploy/vm/standby.conf", units / "mrcore-master.service.d")
    for name in (
        "venv/bin/mrcore",
        "payload/tail-logs",
        "payload/after-daemon",
    ):
        program = root / "opt/mrcore" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return root


def verify(root: Path, *units: str) -> tuple[int, str]:
    run = subprocess.run(
        ["systemd-analyze", "verify", f"--root={root}", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return run.returncode, run.stdout + run.stderr


@needs_systemd
@pytest.mark.parametrize(
    "unit", ["mrcore-master.service", "mrcore-worker@0.service", "mrcore-tail-logs.timer"]
)
def test_systemd_understands_every_line(machine: Path, unit: str) -> None:
    code, said = verify(machine, unit)
    assert "mrcore" not in said, said
    assert code == 0, said


@needs_systemd
def test_a_line_that_systemd_does_not_understand_would_be_found(machine: Path) -> None:
    broken = machine / "etc/systemd/system/mrcore-broken.service"
    text = DAEMONS[0].read_text().replace("ProtectSystem=strict", "ProtectSystem=very")
    broken.write_text(text)
    _, said = verify(machine, broken.name)
    broken.unlink()
    assert "mrcore-broken.service:" in said
    assert "protect system" in said


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_what_a_unit_can_reach_is_little(unit: Path) -> None:
    run = subprocess.run(
        [
            *("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}"),
            *("--no-pager", str(unit)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    last = run.stdout.strip().splitlines()[-1]
    assert run.returncode == 0, last
    assert " OK " in last


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_no_unit_runs_as_root_or_without_limits(unit: Path) -> None:
    found = settings(unit)
    assert found["DynamicUser"] == ["yes"]
    assert found["ProtectSystem"] == ["strict"]
    assert found["CapabilityBoundingSet"] == [""]
    assert "MemoryMax" in found
    assert "TasksMax" in found


@pytest.mark.parametrize("unit", DAEMONS, ids=lambda path: path.name)
def test_a_daemon_is_watched_and_leaves_in_order(unit: Path) -> None:
    found = settings(unit)
    assert found["Type"] == ["notify"]
    assert found["NotifyAccess"] == ["main"], "user code must not speak for the worker"
    assert found["KillMode"] == ["mixed"]
    assert found["Restart"] == ["on-failure"]
    assert "network-online.target" in found["After"][0]
    assert float(found["WatchdogSec"][0].removesuffix("s")) >= 30


def test_there_is_time_to_drain() -> None:
    from mrcore.worker.main import GRACE_SECONDS

    stop = settings(UNITS / "mrcore-worker@.service")["TimeoutStopSec"][0]
    assert float(stop.removesuffix("s")) > GRACE_SECONDS + 10


@pytest.mark.parametrize(
    ("unit", "parser"),
    [
        ("mrcore-master.service", "mrcore.master.main"),
        ("mrcore-worker@.service", "mrcore.worker.main"),
    ],
)
def test_the_command_is_one_that_the_daemon_takes(unit: str, parser: str) -> None:
    import importlib

    (command,) = settings(UNITS / unit)["ExecStart"]
    words = command.replace("$MRCORE_MASTER_OPTIONS", "")
    standby = settings(ROOT / "deploy/vm/standby.conf")["Environment"]
    assert f"Environment={standby[0].partition('=')[0]}=\n" in (UNITS / DAEMONS[0]).read_text()
    words = words.replace("$MRCORE_STANDBY", standby[0].partition("=")[2])
    words = words.replace("$MRCORE_WORKER_OPTIONS", _vm_options())
    for name, value in {
        "${MRCORE_SLOTS}": "auto",
        "${MRCORE_METRICS}": "127.0.0.1:9100",
        "${MRCORE_LISTEN}": "0.0.0.0:7077",
        "${MRCORE_STATE}": "gs://bucket/mrcore/test/state",
    }.items():
        words = words.replace(name, value)
    assert "token" not in words, "a command line can be read by everybody"
    parse = importlib.import_module(parser)._parser().parse_args
    options = parse(words.split()[2:])
    assert options.log_format == "json"
    assert options.metrics == "127.0.0.1:9100"
    assert getattr(options, "standby", False) == ("master" in unit)


def _vm_options() -> str:
    """Return the options that a VM's environment file adds for its worker."""
    text = (ROOT / "deploy/vm/install").read_text()
    match = re.search(r"MRCORE_WORKER_OPTIONS=([^\\]+)", text)
    assert match is not None
    return match[1]


def test_exit_codes_that_a_restart_cannot_mend_are_known_to_the_units() -> None:
    from mrcore.worker.shell.synchronizer import ORPHANED

    worker = settings(UNITS / "mrcore-worker@.service")
    assert worker["RestartPreventExitStatus"] == [str(ORPHANED)]
    assert f"' {ORPHANED}')" in (ROOT / "deploy/vm/after-daemon").read_text()
    master = settings(UNITS / "mrcore-master.service")
    assert master["RestartPreventExitStatus"] == ["2 4"]
    standby = settings(ROOT / "deploy/vm/standby.conf")
    assert standby["RestartPreventExitStatus"] == ["", "2"]


def test_settings_that_old_systemd_lacks_are_kept_apart() -> None:
    assert "RestartSteps=" in (ROOT / "deploy/vm/backoff.conf").read_text()
    assert not [unit.name for unit in SERVICES if "RestartSteps=" in unit.read_text()]
