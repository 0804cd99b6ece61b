"""The list of masters: at each moment of a change of leaders it shows the one that leads."""

from __future__ import annotations

import msgspec
import pytest

from mrcore.model import object_names
from mrcore.model.master import MasterRole
from mrcore.rpc.cluster import Leader
from mrcore.rpc.masters import MasterRecord, master_views, masters_of
from mrcore.storage.base import Storage
from mrcore.storage.registry import storage_for

STATE = "mem://masters/state"
LEADER = Leader(cluster_id="c", epoch=3, address="b:2")


@pytest.fixture
def storage() -> Storage:
    made = storage_for(STATE)
    for info in list(made.list(f"{STATE}/")):
        made.delete(info.uri)
    lead(made, LEADER)
    return made


def write(storage: Storage, uri: str, document: msgspec.Struct) -> None:
    with storage.open_write(uri) as writer:
        writer.write(msgspec.json.encode(document))
        writer.commit()


def lead(storage: Storage, leader: Leader) -> None:
    write(storage, object_names.leader_uri(STATE), leader)


def join(
    storage: Storage, name: str, address: str, role: MasterRole, epoch: int, started_at: float = 1.0
) -> None:
    record = MasterRecord(
        master_id=name,
        address=address,
        role=role,
        host=f"vm-{name}",
        process_id=7,
        started_at=started_at,
        epoch=epoch,
        entry=9,
        behind=4,
    )
    write(storage, object_names.master_uri(STATE, name), record)


def listed(storage: Storage) -> list[tuple[str, str, str, int, int]]:
    views = masters_of(storage, STATE, 1e12)
    return [(one.master_id, one.address, one.role.value, one.epoch, one.behind) for one in views]


def test_a_standby_that_has_just_taken_over_is_shown_as_the_leader(storage: Storage) -> None:
    join(storage, "old", "a:1", MasterRole.LEADER, 2)
    join(storage, "new", "b:2", MasterRole.STANDBY, 2)
    join(storage, "third", "c:3", MasterRole.STANDBY, 2)
    assert listed(storage) == [("new", "b:2", "leader", 3, 0), ("third", "c:3", "standby", 2, 4)]


def test_a_leader_without_a_record_is_shown_from_the_leader_object(storage: Storage) -> None:
    join(storage, "old", "a:1", MasterRole.LEADER, 2)
    assert listed(storage) == [("", "b:2", "leader", 3, 0)]
    (view,) = masters_of(storage, STATE, 1e12)
    assert view.started_at == pytest.approx(1e12 - view.heard_seconds, abs=1)
    assert view.started_at > 0
    lead(storage, msgspec.structs.replace(LEADER, serving=False))
    assert listed(storage) == []


def test_of_masters_that_had_one_address_the_latest_leads(storage: Storage) -> None:
    join(storage, "killed", "b:2", MasterRole.LEADER, 2, started_at=5.0)
    assert [one[0] for one in listed(storage)] == [""]
    join(storage, "again", "b:2", MasterRole.LEADER, 3, started_at=1.0)
    join(storage, "stood", "b:2", MasterRole.STANDBY, 2, started_at=6.0)
    assert [one[:3] for one in listed(storage)] == [
        ("again", "b:2", "leader"),
        ("stood", "b:2", "standby"),
    ]


def test_without_a_leader_only_those_are_shown_that_stand_by(storage: Storage) -> None:
    join(storage, "led", "b:2", MasterRole.LEADER, 3)
    join(storage, "new", "c:3", MasterRole.STANDBY, 3)
    infos = list(storage.list(object_names.masters_prefix(STATE)))
    records = [
        (info, msgspec.json.decode(storage.read(info.uri), type=MasterRecord)) for info in infos
    ]
    assert [one.master_id for one in master_views(records, None, 0.0)] == ["new"]
