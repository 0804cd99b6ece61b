"""The units under a real systemd: a master and a worker on VMs of the test cloud."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.installed import installed
from tests.cloud.machines import image
from tests.cloud.machines.cloud import Cloud
from tests.cloud.machines_by_hand import skip_without_cloud
from tests.cloud.proof import wheels
from tests.cloud.unit_vms import UnitVms

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.xdist_group("units")]

WORKER = "mrcore-worker@0.service"
MASTER = "mrcore-master.service"

PROBE = """
import ctypes, mmap, multiprocessing, os, resource, subprocess, tempfile

def attempt(what):
    try:
        what()
        return "yes"
    except OSError as error:
        return error.strerror

def map(key, value):
    import numpy, pyarrow
    yield "root", str(os.getuid() == 0)
    yield "child process", subprocess.run(["echo", "ok"], capture_output=True).stdout.decode()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield "pool", str(pool.apply(abs, (-3,)))
    yield "compiled code", str(mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC) != None)
    yield "callback", str(ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda x: x + 1)(1))
    yield "numpy", str(numpy.arange(4) @ numpy.arange(4))
    yield "arrow", str(pyarrow.array([1, 2]).sum())
    yield "limits", attempt(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (999, 999)))
    yield "temporary file", attempt(lambda: tempfile.NamedTemporaryFile().close())
    yield "others' temporary files", str(os.listdir("/tmp"))
    yield "file at home", attempt(lambda: open(os.path.expanduser("~/mine"), "w").close())
    yield "file in the system", attempt(lambda: open("/etc/mine", "w"))
    yield "options of the daemon", attempt(lambda: open("/etc/mrcore/mrcore.env"))
    yield "first process", attempt(lambda: os.kill(1, 0))
    yield "line to systemd", os.environ.get("NOTIFY_SOCKET", "none")

def reduce(key, values):
    return next(iter(values)).strip()
"""

PROBED = {
    "root": "False",
    "child process": "ok",
    "pool": "3",
    "compiled code": "True",
    "callback": "2",
    "numpy": "14",
    "arrow": "3",
    "limits": "yes",
    "temporary file": "yes",
    "others' temporary files": "[]",
    "file at home": "yes",
    "file in the system": "Read-only file system",
    "options of the daemon": "Permission denied",
    "first process": "Operation not permitted",
    "line to systemd": "none",
}

GREEDY = """
def map(key, value):
    import numpy
    kept = [numpy.ones(4_000_000) for _ in range(100)]
    yield value, 1
"""


@pytest.fixture(scope="module")
def vms() -> Iterator[UnitVms]:
    skip_without_cloud()
    if (reason := wheels.why_not()) is not None:
        pytest.skip(reason)
    cache = image.default_cache()
    cache.mkdir(parents=True, exist_ok=True)
    with installed(cache) as made_before, Cloud(cache, installed=made_before.disk) as cloud:
        made = UnitVms(cloud, made_before.wheels)
        made.boot("m", "master")
        made.boot("w", "worker")
        await_worker(made)
        yield made


def await_worker(vms: UnitVms) -> None:
    """Wait until the worker's present process has heard from the master."""
    vms.until(lambda: vms.show("w", WORKER, "StatusText") == "0 of 2 slots busy", "it is known")


def job(vms: UnitVms, folder: Path, source: str, *options: str) -> str:
    """Run a job over one line; return what the command says."""
    (folder / "plugin.py").write_text(source)
    vms.write("line.txt", "a\n")
    plugin = str(folder / "plugin.py")
    return vms.mrcore(
        "run", plugin, "gs://units/line.txt", "-o", "gs://units/out", "--overwrite", *options
    )


def test_both_are_ready_and_say_how_they_do(vms: UnitVms) -> None:
    for name, unit in (("m", MASTER), ("w", WORKER)):
        assert vms.show(name, unit, "ActiveState") == "active"
        assert vms.show(name, unit, "WatchdogUSec") == "1min"
        assert vms.shell(name, "systemctl --failed --no-legend") == ""
        log = vms.log(name, "boot").splitlines()
        assert log[-1].startswith("boot: done in ")
        assert "boot: the environment is here" in log, "its image has it"
    status = "jobs: 0, tasks left: 0, workers: 1, slots: 2"
    vms.until(lambda: vms.show("m", MASTER, "StatusText") == status, "the master says so too")


def test_user_code_can_do_what_it_needs_and_no_more(vms: UnitVms, tmp_path: Path) -> None:
    job(vms, tmp_path, PROBE, "-r", "1")
    rows = vms.read("out/part-00000").splitlines()
    assert dict(row.split("\t") for row in rows) == PROBED


def test_the_log_is_json_with_priorities(vms: UnitVms, tmp_path: Path) -> None:
    source = "def map(key, value):\n    raise ValueError('boom')\n"
    with pytest.raises(Exception, match="ValueError: boom"):
        job(vms, tmp_path, source, "--map-only", "--max-attempts", "1")
    said = vms.shell("w", f"journalctl -u {WORKER} -p warning -o cat")
    assert '"severity":"WARNING"' in said
    assert '"task":"map-00000"' in said
    assert '"cluster":"test"' in said
    assert "INFO" not in said


def test_what_takes_too_much_memory_dies_alone(vms: UnitVms, tmp_path: Path) -> None:
    process = vms.show("w", WORKER, "MainPID")
    vms.shell("w", f"systemctl set-property --runtime {WORKER} MemoryMax=600M")
    with pytest.raises(Exception, match="ran out of memory"):
        job(vms, tmp_path, GREEDY, "--map-only", "--max-attempts", "1", "--memory", "8GiB")
    vms.shell("w", f"systemctl set-property --runtime {WORKER} MemoryMax=infinity")
    assert vms.show("w", WORKER, "MainPID") == process


@pytest.mark.parametrize(("name", "unit"), [("w", WORKER), ("m", MASTER)])
def test_a_daemon_that_hangs_is_started_again(vms: UnitVms, name: str, unit: str) -> None:
    folder = f"/run/systemd/system/{unit}.d"
    vms.shell(
        name,
        f"mkdir -p {folder} && printf '[Service]\\nWatchdogSec=2s\\n' >{folder}/test.conf && "
        f"systemctl daemon-reload && systemctl restart {unit}",
    )
    process = vms.show(name, unit, "MainPID")
    vms.shell(name, f"kill -STOP {process}")
    vms.await_unit(name, unit, "NRestarts", "1")
    vms.await_unit(name, unit, "ActiveState", "active")
    said = vms.shell(name, f"journalctl -u {unit} -o cat")
    assert "Watchdog timeout" in said
    assert "most recent call first" in said, "the stacks of its threads"
    vms.shell(name, f"rm -r {folder} && systemctl daemon-reload && systemctl restart {unit}")
    await_worker(vms)


def test_stopping_drains_and_leaves_the_vm_on(vms: UnitVms) -> None:
    vms.shell("w", f"systemctl stop {WORKER}")
    assert vms.show("w", WORKER, "Result") == "success"
    said = vms.shell("w", f"journalctl -u {WORKER} -o cat -n 20")
    assert "draining: got SIGTERM" in said
    assert "leaving: drained" in said
    assert vms.instance("w")["status"] == "RUNNING"
    vms.shell("w", f"systemctl start {WORKER}")
    await_worker(vms)


def test_a_drained_worker_takes_its_vm_with_it_and_leaves_its_log(vms: UnitVms) -> None:
    vms.mrcore("drain", "w-0")
    vms.until(lambda: vms.instance("w")["status"] == "TERMINATED", "the VM is off")
    assert "has drained: this VM powers itself off" in vms.log("w", "tail")


def test_an_orphan_takes_its_vm_with_it(vms: UnitVms) -> None:
    vms.boot("o", "worker", MRCORE_WORKER_OPTIONS="--orphan-timeout 3s")
    vms.await_unit("m", MASTER, "StatusText", "workers: 1")
    vms.shell("m", f"systemctl stop {MASTER}")
    vms.until(lambda: vms.instance("o")["status"] == "TERMINATED", "the VM is off")
    assert "has answered for 3 s, so this worker ends" in vms.log("o", "tail")
