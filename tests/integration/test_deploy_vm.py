"""The scripts of a VM, run for real below a prefix, against servers on loopback."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcore.gce.wheelhouse import bundled_pips
from tests.gcsserver import Fault, GcsServer
from tests.support.metadata import metadata_server
from tests.support.repository import ROOT
from tests.support.stores import Place
from tests.support.vm_site import VmSite, tiny_wheel


@pytest.fixture
def vm(tmp_path: Path, gcs_server: GcsServer, gcs_place: Place) -> Iterator[VmSite]:
    with metadata_server() as metadata:
        house = VmSite(tmp_path, metadata, gcs_place, gcs_server.url)
        house.publish(next(bundled_pips()), tiny_wheel(tmp_path))
        yield house


def test_a_vm_from_its_first_boot_to_its_shutdown(
    vm: VmSite, tmp_path: Path, gcs_server: GcsServer
) -> None:
    # One VM for all: its environment takes two seconds of CPU time to make.
    check_first_boot(vm)
    check_environment_of_the_daemons(vm)
    check_reboot(vm, gcs_server)
    check_price_list(vm, tmp_path)
    check_changed_option(vm)
    check_shutdown(vm)


def check_first_boot(vm: VmSite) -> None:
    """Check that a worker is installed offline, from the manifest's wheels alone, and started."""
    vm.place.put("mrcore/test/wheels/evil-1.0-py3-none-any.whl", b"x")
    assert vm.boot() == 0, vm.output()
    installed = {path.name for path in vm.prefix.glob("opt/mrcore/venv/lib/*/site-packages/*.py")}
    assert installed == {"tiny.py"}, "a wheel beside the manifest is not installed"
    python = vm.prefix / "opt/mrcore/venv/bin/python"
    command = [str(python), "-c", "import tiny; print(tiny.ANSWER)"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"42\n"
    calls = vm.calls()
    assert "daemon-reload" in calls
    assert "enable --quiet mrcore-worker@0.service" in calls
    assert "restart --no-block mrcore-worker@0.service" in calls
    assert "restart --no-block mrcore-tail-logs.timer" in calls
    assert not [call for call in calls if "master" in call or "poweroff" in call]
    units = vm.prefix / "etc/systemd/system"
    assert (units / "mrcore-worker@.service").is_file()
    assert "StartLimitAction=poweroff" in (units / "mrcore-worker@.service.d/vm.conf").read_text()
    assert not (units / "mrcore-worker@.service.d/backoff.conf").exists(), "systemd is too old"
    assert not (units / "mrcore-master.service.d/standby.conf").exists(), "it is the only master"
    last = vm.log().splitlines()[-1]
    assert last.startswith("boot: done in ")


def check_environment_of_the_daemons(vm: VmSite) -> None:
    """Check that the environment of the daemons is complete, and readable by root alone."""
    path = vm.prefix / "etc/mrcore/mrcore.env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = path.read_text().splitlines()
    assert "MRCORE_CLUSTER=test" in lines
    assert "MRCORE_MASTER_OPTIONS=--advertise 10.128.0.7" in lines
    assert f"MRCORE_STATE={vm.place.base_uri}/mrcore/test/state" in lines
    assert f"GCE_METADATA_HOST={vm.metadata.host}" in lines
    assert lines.index("MRCORE_MAX_WORKERS=3") > lines.index("MRCORE_CLUSTER=test"), "ours can win"


def check_reboot(vm: VmSite, server: GcsServer) -> None:
    """Check that a reboot fetches nothing that is there, and restarts nothing."""
    server.faults.add(Fault("error", "objects.media", status=404))
    assert vm.boot() == 0, vm.output()
    server.faults.clear()
    calls = vm.calls()
    assert "start --no-block mrcore-worker@0.service" in calls
    assert not [call for call in calls if call.startswith("restart")]
    assert vm.log().count("boot: done in ") == 2, "the log of the first boot is kept"


def check_price_list(vm: VmSite, tmp_path: Path) -> None:
    """Check that the master is given the price list that it is to count by."""
    vm.publish(next(bundled_pips()), tiny_wheel(tmp_path), prices=b'{"list": 1}')
    assert vm.boot() == 0, vm.output()
    path = vm.prefix / "etc/mrcore/prices.json"
    assert f"MRCORE_PRICES={path}" in (vm.prefix / "etc/mrcore/mrcore.env").read_text().splitlines()
    assert path.read_bytes() == b'{"list": 1}'
    assert stat.S_IMODE(path.stat().st_mode) == 0o644, "the daemon is not root"
    assert "boot: the environment is here" in vm.log(), "its wheels are the same"


def check_changed_option(vm: VmSite) -> None:
    """Check that a changed option restarts the daemon."""
    vm.calls()
    vm.metadata.values["instance/attributes/mrcore-role"] = "master"
    added = "\nMRCORE_MAX_COST=9\nMRCORE_STANDBY=--standby"
    vm.metadata.values["instance/attributes/mrcore-env"] += added
    assert vm.boot(SYSTEMD="257") == 0, vm.output()
    calls = vm.calls()
    assert "restart --no-block mrcore-master.service" in calls
    assert not [call for call in calls if "worker" in call]
    units = vm.prefix / "etc/systemd/system"
    assert (units / "mrcore-master.service.d/backoff.conf").is_file()
    assert (units / "mrcore-master.service.d/standby.conf").is_file()


def check_shutdown(vm: VmSite) -> None:
    """Check that the daemons are stopped, and that the tail of the log is saved."""
    script = ROOT / "deploy/vm/shutdown.sh"
    # As Google's agent runs it: without the variable that only our environment file has.
    assert vm.run(script, GCE_METADATA_HOST="") == 0, vm.output()
    (stop,) = vm.calls()
    assert stop.startswith("stop ")
    assert "mrcore-worker@*.service" in stop
    assert "mrcore-master.service" in stop
    assert vm.log("tail") == "the end of the log\n"


def test_servers_with_bad_moments_are_asked_again(vm: VmSite, gcs_server: GcsServer) -> None:
    vm.metadata.refuse = 2
    gcs_server.faults.add(
        Fault("error", "objects.media", status=503, count=1),
        Fault("error", "objects.media", "*/wheels/*", status=403, count=1),
        Fault("cut", "objects.media", "*/payload/*", count=1),
        Fault("error", "objects.insert", status=500, count=1),
    )
    assert vm.boot() == 0, vm.output()
    assert "boot: done in " in vm.log()


@pytest.mark.parametrize(
    ("breakage", "why"),
    [
        ("payload", "is not what was meant: its SHA-256 is not"),
        ("wheel", "is not what its name says"),
        ("missing", "failed (status 404)"),
        ("role", "the attribute mrcore-role is none: 'king'"),
        ("python", "the wheels do not fit Python 3"),
    ],
)
def test_a_vm_that_cannot_be_installed_says_why_and_goes(
    vm: VmSite, tmp_path: Path, gcs_server: GcsServer, breakage: str, why: str
) -> None:
    match breakage:
        case "payload":
            gcs_server.faults.add(Fault("corrupt", "objects.media", "*/payload/*"))
        case "wheel":
            gcs_server.faults.add(Fault("corrupt", "objects.media", "*/wheels/*tiny*"))
        case "missing":
            gcs_server.faults.add(Fault("error", "objects.media", status=404))
        case "role":
            vm.metadata.values["instance/attributes/mrcore-role"] = "king"
        case _:
            wheel = tiny_wheel(tmp_path).rename(tmp_path / "tiny-1.0-cp27-cp27m-win32.whl")
            vm.publish(next(bundled_pips()), wheel)
    assert vm.boot() == 1
    last = vm.log().splitlines()[-1]
    assert last.startswith("boot: failed: ")
    assert why in last
    calls = vm.calls()
    assert calls[-1] == "poweroff"
    assert not [call for call in calls if "mrcore" in call], "nothing was started"


def test_an_image_is_sealed_and_starts_nothing(vm: VmSite) -> None:
    vm.metadata.values["instance/attributes/mrcore-role"] = "image"
    (vm.prefix / "etc/ssh").mkdir(parents=True)
    (vm.prefix / "etc/ssh/ssh_host_ed25519_key").write_text("secret")
    (vm.prefix / "etc/machine-id").write_text("0123")
    assert vm.boot() == 0, vm.output()
    assert not list((vm.prefix / "etc/ssh").iterdir())
    assert (vm.prefix / "etc/machine-id").read_text() == ""
    assert not (vm.prefix / "etc/mrcore/mrcore.env").exists(), "it belongs to no cluster"
    calls = vm.calls()
    assert calls[-1] == "poweroff"
    assert not [call for call in calls if call.startswith(("enable", "start", "restart"))]


def test_a_vm_that_was_never_installed_shuts_down_all_the_same(vm: VmSite) -> None:
    assert vm.run(ROOT / "deploy/vm/shutdown.sh") == 0, vm.output()
    assert vm.log("tail") == ""


@pytest.mark.parametrize(
    ("unit", "status", "job", "off"),
    [
        ("mrcore-worker@0.service", "75", "0", True),
        ("mrcore-worker@0.service", "0", "0", True),
        ("mrcore-worker@0.service", "0", "123", False),
        ("mrcore-worker@0.service", "75", "123", False),
        ("mrcore-worker@0.service", "1", "0", False),
        ("mrcore-worker@0.service", "2", "0", False),
        ("mrcore-worker@0.service", "KILL", "0", False),
        ("mrcore-master.service", "4", "0", True),
        ("mrcore-master.service --standby", "4", "0", False),
        ("mrcore-master.service --standby", "2", "0", True),
        ("mrcore-master.service", "2", "0", True),
        ("mrcore-master.service", "ABRT", "0", False),
    ],
)
def test_a_daemon_that_has_left_for_good_takes_its_vm_with_it(
    vm: VmSite, unit: str, status: str, job: str, off: bool
) -> None:
    script = ROOT / "deploy/vm/after-daemon"
    unit, _, standby = unit.partition(" ")
    ended = vm.run(script, unit, EXIT_STATUS=status, JOB=job, MRCORE_STANDBY=standby)
    assert ended == 0, vm.output()
    assert ("--no-block poweroff" in vm.calls()) is off
