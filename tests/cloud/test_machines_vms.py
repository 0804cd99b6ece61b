"""VMs of the cloud of containers: how they boot, what they reach, and how they end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cloud.compute.api import ZONE
from tests.cloud.compute.server import PROJECT
from tests.cloud.machines.cloud import COMPUTE, STORAGE, CloudError
from tests.cloud.machines_by_hand import SPOT, Vms, vms

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.xdist_group("vms")]

METADATA = "curl -sS -H Metadata-Flavor:Google http://$GCE_METADATA_HOST/computeMetadata/v1"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Vms]:
    with vms() as made:
        yield made


def test_a_vm_boots_and_runs_its_start_up_script(cloud: Vms) -> None:
    script = f"""
        echo "name $({METADATA}/instance/name) host $(hostname --fqdn) user $(id -un)"
        echo "python $(python3 -c 'import sys; print(*sys.version_info[:2])')"
        for tool in pip gcloud; do command -v $tool || echo no $tool; done
        python3 -m venv /tmp/with-pip >/dev/null || echo "no pip for venv"
        python3 -m venv --without-pip /tmp/without && echo "venv without pip"
        exit 3"""
    cloud.make("boots", script)
    console = cloud.said("boots", "startup-script exit status 3")
    for line in (
        f"name boots host boots.{ZONE}.c.{PROJECT}.internal user root",
        "python 3 11",
        "no pip",
        "no gcloud",
        "no pip for venv",
        "venv without pip",
    ):
        assert f"startup-script: {line}\r\n" in console
    cloud.until(
        lambda: cloud.shell("boots", "systemctl is-system-running") == "running\n", "it has booted"
    )
    assert cloud.shell("boots", "ps -p 1 -o comm=") == "systemd\n"


def test_a_vm_that_is_stopped_shuts_down_in_order_and_keeps_its_disk(cloud: Vms) -> None:
    cloud.make("stops", "cat /var/kept || echo nothing yet; echo kept > /var/kept", "echo goodbye")
    cloud.said("stops", "startup-script exit status 0")
    cloud.call("stops", "stop")
    cloud.until(lambda: cloud.status("stops") == "TERMINATED", "it is off")
    words = ["nothing yet", "shutdown-script: goodbye", "Reached target", "Powering off."]
    places = [cloud.console("stops").rfind(word) for word in words]
    assert -1 not in places
    assert places == sorted(places)
    cloud.call("stops", "start")
    cloud.said("stops", "startup-script: kept")


def test_a_preempted_vm_is_told_before_it_is_shut_down(cloud: Vms) -> None:
    # A unit does not have the environment of the start-up script.
    asked = f"{METADATA}/instance/preempted".replace("$GCE_METADATA_HOST", "metadata")
    waiting = f"""
        etag=$({asked} -o /dev/null -D - | sed -n 's/^ETag: \\([0-9a-f]*\\).*/\\1/p')
        systemd-run --unit=listener -p StandardOutput=journal+console bash -c "
            echo preempted: \\$({asked}'?wait_for_change=true&last_etag='$etag)"
        """
    cloud.make("taken", waiting, f'echo "at the end $({asked})"', scheduling=SPOT)
    cloud.said("taken", "startup-script exit status 0")
    cloud.cloud.ask("_cloud/preempt", {"instance": "taken"})
    cloud.until(lambda: cloud.status("taken") == "TERMINATED", "it is off")
    console = cloud.console("taken")
    assert "preempted: TRUE" in console
    assert "shutdown-script: at the end TRUE" in console


def test_a_crash_gives_no_time_for_a_shutdown_script(cloud: Vms) -> None:
    cloud.make("dies", "echo up", "echo goodbye")
    cloud.said("dies", "startup-script exit status 0")
    cloud.cloud.ask("_cloud/crash", {"instance": "dies"})
    # A standard VM is started again.
    console = cloud.said("dies", "startup-script: up", 2)
    assert "goodbye" not in console
    assert "Powering off" not in console


def test_a_vm_may_power_itself_off_or_start_anew(cloud: Vms) -> None:
    cloud.make("leaves", "[[ -e /again ]] || { touch /again; reboot; exit; }; echo off; poweroff")
    cloud.until(lambda: cloud.status("leaves") == "TERMINATED", "it is off")
    console = cloud.console("leaves")
    assert console.count("Detected virtualization") == 2
    assert "startup-script: off" in console


def test_a_vm_reaches_the_cloud_and_nothing_else(cloud: Vms) -> None:
    cloud.make("serves", "echo ready; exec python3 -m http.server 80")
    cloud.said("serves", "startup-script: ready")
    cloud.make("asks", "echo up")
    cloud.said("asks", "startup-script exit status 0")
    asked = "curl -sS -o /dev/null -w '%{http_code}' --max-time 20 --retry 9 --retry-connrefused "
    assert cloud.shell("asks", f"{asked} http://{cloud.address('serves')}/") == "200"
    assert cloud.shell("asks", f"{asked} {STORAGE}/storage/v1/b/none") == "404"
    assert cloud.shell("asks", f"{asked} {COMPUTE}/compute/v1/projects/{PROJECT}") == "200"
    # 192.0.2.1 stands for the Internet. It is not waited for: there is no way to it.
    outside = cloud.shell(
        "asks", "ip route get 192.0.2.1; ip -brief link; getent hosts example.org"
    )
    assert "Network is unreachable" in outside
    assert "eth1" not in outside


def test_a_vm_that_is_cut_off_comes_back(cloud: Vms) -> None:
    cloud.make("cut", "echo ready; exec python3 -m http.server 80")
    cloud.said("cut", "startup-script: ready")
    address = cloud.address("cut")
    asked = ["curl", "-sS", "--max-time", "1", f"http://{address}/"]

    def answers() -> bool:
        try:
            return bool(cloud.cloud.run(asked, {"PATH": "/usr/bin"}))
        except CloudError:
            return False

    cloud.until(answers, "it answers")
    cloud.cloud.ask("_cloud/cut", {"instance": "cut"})
    assert not answers()
    assert "NO-CARRIER" in cloud.shell("cut", "ip -brief link show eth0")
    cloud.cloud.ask("_cloud/cut", {"instance": "cut", "on": False})
    cloud.until(answers, "it answers again")


def test_units_are_confined_as_they_ask(cloud: Vms) -> None:
    cloud.make("hardens", "echo up")
    cloud.said("hardens", "startup-script exit status 0")
    run = "systemd-run --quiet --wait --pipe -p DynamicUser=yes -p ProtectSystem=strict"
    assert cloud.shell("hardens", f"{run} touch /etc/mine").endswith("Read-only file system\n")
    assert cloud.shell("hardens", f"{run} id -u").strip() != "0"
    eat = f"{run} -p MemoryMax=64M -p MemorySwapMax=0 python3 -c 'print(len(bytes([7]) * 9 ** 9))'"
    assert cloud.shell("hardens", eat) == ""
    assert cloud.shell("hardens", eat.replace("64M", "600M")) == f"{9**9}\n"
    forks = f"{run} -p TasksMax=3 sh -c 'sleep 0 & sleep 0 & sleep 0 & sleep 0 & wait'"
    assert "Cannot fork" in cloud.shell("hardens", forks)


def test_an_image_has_what_its_vm_has_written(cloud: Vms) -> None:
    cloud.make("bakes", "echo baked > /opt/made; rm /usr/bin/curl", "true")
    cloud.said("bakes", "startup-script exit status 0")
    cloud.call("bakes", "stop")
    cloud.until(lambda: cloud.status("bakes") == "TERMINATED", "it is off")
    images = f"compute/v1/projects/{PROJECT}/global/images"
    disk = f"projects/{PROJECT}/zones/{ZONE}/disks/bakes"
    cloud.cloud.ask(images, {"name": "baked", "sourceDisk": disk})
    cloud.until(
        lambda: cloud.cloud.ask(f"{images}/baked")["status"] == "READY", "the image is made"
    )
    boot = {
        "boot": True,
        "initializeParams": {"sourceImage": f"projects/{PROJECT}/global/images/baked"},
    }
    cloud.make("from-it", "cat /opt/made; command -v curl || echo no curl", disks=[boot])
    console = cloud.said("from-it", "startup-script exit status")
    assert "startup-script: baked" in console
    assert "startup-script: no curl" in console
    assert cloud.shell("from-it", "hostname") == "from-it\n"


def test_the_power_of_a_vm_that_does_not_shut_down_is_cut() -> None:
    with vms(grace_seconds=1.0) as cloud:
        cloud.make("clings", "echo up", "echo no; sleep 1000", scheduling=SPOT)
        cloud.said("clings", "startup-script exit status 0")
        cloud.cloud.ask("_cloud/preempt", {"instance": "clings"})
        cloud.until(lambda: cloud.status("clings") == "TERMINATED", "it is off")
        console = cloud.console("clings")
        assert "shutdown-script: no" in console
        assert "Powering off" not in console
