"""The masters as the leader itself lists them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

from mrcore.master.shell.loop import Shell
from mrcore.master.shell.masters import Masters
from mrcore.master.shell.roster import Roster
from mrcore.model.master import MasterRole
from mrcore.rpc.cluster import Leader
from mrcore.rpc.masters import MasterRecord
from mrcore.rpc.server import RpcServer
from mrcore.storage.memory import MemoryStorage
from tests.support.fake_clock import FakeClock

STATE = "mem://space/state"


def test_a_master_that_was_killed_at_the_address_of_the_leader_is_not_listed() -> None:
    storage, clock = MemoryStorage(), FakeClock(100.0)

    def roster(name: str, address: str) -> Roster:
        record = MasterRecord(
            master_id=name,
            address=address,
            role=MasterRole.STANDBY,
            host="h",
            process_id=1,
            started_at=5.0,
        )
        return Roster(storage, STATE, record, clock)

    roster("killed", "a:1").beat(MasterRole.LEADER, 3, 7)
    roster("standby", "b:2").beat(MasterRole.STANDBY, 3, 7)
    named: list[str] = []
    masters = Masters(
        cast("Shell", SimpleNamespace(entry=9)),
        roster("own", "a:1"),
        Leader(cluster_id="c", epoch=3, address="a:1"),
        cast("RpcServer", SimpleNamespace(name_masters=named.extend)),
        clock,
    )
    views = asyncio.run(masters.views())
    assert [(one.master_id, one.role.value) for one in views] == [
        ("own", "leader"),
        ("standby", "standby"),
    ]
    assert named == ["a:1", "b:2"]
