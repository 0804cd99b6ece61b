"""Several masters of a cluster: which VMs are made and removed, and where the tunnel leads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import msgspec
import pytest

from mrcore.errors import ClusterUnreachableError
from mrcore.gce.connect import describe_states
from mrcore.gce.inventory import Row
from mrcore.gce.machines import machine_options
from mrcore.gce.masters import LeaderTunnel, leading_vm, plan_change
from mrcore.master.shell.roster import Roster
from mrcore.model import object_names
from mrcore.model.master import MasterRole
from mrcore.rpc.cluster import Credentials, Leader
from mrcore.rpc.masters import LEADER_KEY, TUNNEL_VARIABLE, KnownMasters, MasterRecord
from mrcore.storage.registry import storage_for
from tests.support.fake_clock import FakeClock
from tests.support.gce_records import make_record

ZONES = ("z-a", "z-b", "z-c")
FIRST, SECOND, THIRD = "mrcore-demo-master", "mrcore-demo-master-2", "mrcore-demo-master-3"


def vm(name: str, place: str = "z-a", state: str = "RUNNING") -> Row:
    return Row("instance", name, place, state, role="master")


WORKER = Row("instance", "mrcore-demo-spot-x", "z-a", "RUNNING", role="worker")


def test_masters_are_made_in_different_zones() -> None:
    change = plan_change("demo", [WORKER], 3, ZONES, "")
    assert change.make == ((FIRST, "z-a"), (SECOND, "z-b"), (THIRD, "z-c"))
    more = plan_change("demo", [vm(FIRST, "z-b")], 2, ZONES[:2], "")
    assert (more.make, more.remove) == (((SECOND, "z-a"),), ())


def test_a_cluster_with_its_number_of_masters_is_left_alone() -> None:
    rows = [vm(FIRST), vm(SECOND, "z-b"), WORKER]
    change = plan_change("demo", rows, 2, ZONES, FIRST)
    assert (change.make, change.remove) == ((), ())


def test_a_stopped_master_is_replaced_in_its_place() -> None:
    rows = [vm(FIRST, "z-a", "TERMINATED"), vm(SECOND, "z-b")]
    change = plan_change("demo", rows, 2, ZONES[:2], SECOND)
    assert change.make == ((FIRST, "z-a"),)
    assert change.remove == (rows[0],)


@pytest.mark.parametrize(
    ("leader", "stays"), [(FIRST, FIRST), (SECOND, SECOND), (THIRD, THIRD), ("elsewhere", FIRST)]
)
def test_the_master_that_leads_is_never_removed(leader: str, stays: str) -> None:
    rows = [vm(FIRST), vm(SECOND), vm(THIRD)]
    change = plan_change("demo", rows, 1, ZONES, leader)
    assert {row.name for row in rows} - {row.name for row in change.remove} == {stays}
    assert change.make == ()


def test_no_master_is_removed_while_nobody_knows_which_one_leads() -> None:
    change = plan_change("demo", [vm(FIRST), vm(SECOND)], 1, ZONES, "")
    assert (change.remove, change.surplus) == ((), 1)


def test_only_one_of_several_masters_is_told_to_stand_by() -> None:
    def environment(role: str, masters: int) -> str:
        record = make_record("gs://b/mrcore/demo", masters=masters)
        return next(o for o in machine_options(record, role) if o.startswith("--metadata="))

    assert "\nMRCORE_STANDBY=--standby" in environment("master", 2)
    assert "STANDBY" not in environment("master", 1)
    assert "STANDBY" not in environment("worker", 2)


def test_several_masters_are_described_by_one_that_lives() -> None:
    assert describe_states([vm(FIRST), vm(SECOND)]) == "master RUNNING (2 of 2)"
    rows = [vm(FIRST, state="TERMINATED"), vm(SECOND)]
    assert describe_states(rows) == "master RUNNING (1 of 2)"
    rows = [vm(FIRST, state="TERMINATED"), vm(SECOND, state="STOPPING")]
    assert describe_states(rows).startswith("master TERMINATED")


def lead(state_uri: str, host: str, address: str) -> None:
    storage = storage_for(state_uri)
    leader = Leader(cluster_id="c", epoch=1, address=address)
    for uri, value in ((object_names.leader_uri(state_uri), leader),):
        with storage.open_write(uri) as writer:
            writer.write(msgspec.json.encode(value))
            writer.commit()
    record = MasterRecord(
        master_id=host,
        address=address,
        role=MasterRole.LEADER,
        host=host,
        process_id=1,
        started_at=0.0,
    )
    Roster(storage, state_uri, record, FakeClock()).beat(MasterRole.LEADER, 1, 1)


def test_the_vm_that_leads_is_found_in_the_state() -> None:
    state = "mem://masters/found"
    assert leading_vm(state) == ""
    lead(state, f"{FIRST}.us-central1-a.c.p.internal", "10.0.0.2:7077")
    assert leading_vm(state) == FIRST
    lead(state, SECOND, "10.0.0.3:7077")
    assert leading_vm(state) == SECOND


@dataclasses.dataclass
class FakeTunnel:
    """A tunnel that only notes its commands."""

    commands: list[list[str]]

    def turn(self, command: list[str]) -> None:
        self.commands.append(command)

    def close(self) -> None:
        self.commands.append(["closed"])


def opened(rows: list[Row], find: Callable[[str], str]) -> tuple[LeaderTunnel, list[list[str]]]:
    commands: list[list[str]] = []

    def open_tunnel(command: list[str]) -> FakeTunnel:
        commands.append(command)
        return FakeTunnel(commands)

    tunnel = LeaderTunnel(
        "mem://masters/tunnel",
        lambda: rows,
        lambda row: [row.name, row.place],
        open_tunnel,  # type: ignore[arg-type]
        find=find,
        look_seconds=3600.0,
    )
    return tunnel, commands


def test_a_tunnel_turns_to_the_master_that_leads() -> None:
    leader = ""
    rows = [vm(FIRST), vm(SECOND, "z-b"), WORKER]
    tunnel, commands = opened(rows, lambda state_uri: leader)
    for leader in ("", FIRST, SECOND, SECOND, "", "elsewhere"):  # noqa: B007 - read by `find`
        tunnel.look()
    rows.append(vm(THIRD, "z-c"))  # made by another command since
    leader = THIRD
    tunnel.look()
    tunnel.close()
    assert commands == [[FIRST, "z-a"], [SECOND, "z-b"], [THIRD, "z-c"], ["closed"]]


def test_a_tunnel_begins_at_the_master_that_leads() -> None:
    tunnel, commands = opened([vm(FIRST), vm(SECOND, "z-b")], lambda state_uri: SECOND)
    tunnel.close()
    assert commands[0] == [SECOND, "z-b"]
    with pytest.raises(ClusterUnreachableError, match="No VM of a master is there"):
        opened([WORKER], lambda state_uri: "")


def test_who_calls_through_a_tunnel_stays_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Credentials(address="localhost:4001", token="t")
    known = KnownMasters()
    known.learn(((LEADER_KEY, "10.0.0.3:7077"),))
    monkeypatch.setenv(TUNNEL_VARIABLE, "localhost:4001")
    assert known.choose(here, None) == here
    monkeypatch.delenv(TUNNEL_VARIABLE)
    known.learn(((LEADER_KEY, "10.0.0.3:7077"),))
    assert known.choose(here, None).address == "10.0.0.3:7077"
