"""A job that comes before the fleet has looked around is planned for the machines to come."""

from __future__ import annotations

from pathlib import Path

from tests.cloud.compute.api import Api
from tests.cloud.compute.threaded import running
from tests.cloud.fleet_site import CLUSTER, Site
from tests.support.daemons import start_master
from tests.support.fake_worker import FakeClient, make_spec
from tests.support.master_site import BUNDLE, SHA256, MasterSite

LISTS = "compute.instanceGroupManagers.*"
WORKERS = 3
MIB = 10
"""Few enough for the slots of these to have a MiB each."""


def test_a_job_waits_for_the_first_look(tmp_path: Path) -> None:
    house = MasterSite(tmp_path)
    (house.folder / "in" / "a").write_text(("x" * 1023 + "\n") * (MIB << 10))
    with running() as cloud:
        site = Site(Api(cloud))
        site.make()
        cloud.control("delay", method=LISTS, seconds=2.0, count=1)
        fleet = ("--fleet", f"gce:{site.target.project}/{site.place}", "--cluster", CLUSTER)
        environment = {"MRCORE_COMPUTE_ENDPOINT": cloud.url}
        most = ("--max-workers", str(WORKERS))
        with (
            start_master(house.folder, house.state_uri, *fleet, *most, env=environment),
            FakeClient(house.credentials()) as client,
        ):
            spec = make_spec(f"file://{house.folder}/in/a", f"file://{house.out}", SHA256)
            assert client.submit(spec, BUNDLE).stages[0].tasks == MIB
