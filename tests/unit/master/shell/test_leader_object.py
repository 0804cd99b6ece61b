"""The leader object: replaced by compare-and-swap, never by a lower epoch."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from mrcore.errors import MrcoreError
from mrcore.master.errors import FencedError
from mrcore.master.shell.leader import (
    announce,
    open_cluster,
    open_tls,
    protect_state,
    read_leader,
    retire,
)
from mrcore.model import object_names
from mrcore.rpc.certificates import make_certificate
from mrcore.rpc.channel import fingerprint_of
from mrcore.storage.faulty import FaultyStorage, script
from mrcore.storage.local.store import LocalStorage
from mrcore.storage.memory import MemoryStorage
from tests.support import stores
from tests.support.fake_clock import FakeClock
from tests.support.journals import leader

STATE = "mem://space/state"


def test_the_cluster_is_drawn_once() -> None:
    storage = MemoryStorage()
    first = open_cluster(storage, STATE)
    assert open_cluster(storage, STATE) == first
    assert open_cluster(storage, "mem://space/other") != first


def test_a_higher_epoch_replaces_a_lower_one_only() -> None:
    storage = MemoryStorage()
    assert read_leader(storage, STATE)[0] is None
    announce(storage, STATE, leader(3))
    announce(storage, STATE, leader(7))
    with pytest.raises(FencedError, match="epoch 7 leads"):
        announce(storage, STATE, leader(5))
    assert read_leader(storage, STATE)[0] == leader(7)


def test_a_leader_that_comes_between_look_and_change_wins() -> None:
    storage = MemoryStorage()
    announce(storage, STATE, leader(1))
    beaten = False

    def overtake(operation: str, uri: str) -> None:
        nonlocal beaten
        if operation == "commit" and not beaten:
            beaten = True
            announce(storage, STATE, leader(9))

    with pytest.raises(FencedError):
        announce(FaultyStorage(storage, script({}), hook=overtake), STATE, leader(5))
    assert read_leader(storage, STATE)[0] == leader(9)


def test_only_the_leader_itself_can_retire() -> None:
    storage = MemoryStorage()
    announce(storage, STATE, leader(4))
    retire(storage, STATE, leader(3))
    assert read_leader(storage, STATE)[0] == leader(4)
    retire(storage, STATE, leader(4))
    assert read_leader(storage, STATE)[0] == msgspec.structs.replace(leader(4), serving=False)


def test_garbage_is_named() -> None:
    storage = MemoryStorage()
    with storage.open_write(object_names.leader_uri(STATE)) as writer:
        writer.write(b"{}")
        writer.commit()
    with pytest.raises(MrcoreError, match=r"leader\.json cannot be read"):
        read_leader(storage, STATE)


def test_the_certificate_is_made_once() -> None:
    storage = MemoryStorage()
    clock = FakeClock(1_800_000_000.0)
    key = open_tls(storage, STATE, clock)
    assert open_tls(storage, STATE, clock) == key
    assert "PRIVATE KEY" in key.key
    assert fingerprint_of(key.certificate) != fingerprint_of(make_certificate(1.8e9).certificate)


def test_a_new_state_is_for_its_user_alone(tmp_path: Path) -> None:
    def protect(name: str) -> bool:
        return protect_state(LocalStorage(), f"file://{tmp_path}/{name}")

    assert not protect("a/state")
    assert stat.S_IMODE((tmp_path / "a" / "state").stat().st_mode) == 0o700
    assert not protect("a/state")
    (tmp_path / "open").mkdir(mode=0o755)
    assert protect("open")


@pytest.mark.parametrize("nameless", [True, False])
def test_the_secrets_are_for_their_owner_alone_whatever_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    if not nameless:
        stores.without_nameless_files(monkeypatch)
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    storage, state = LocalStorage(), f"file://{folder}"
    open_tls(storage, state, FakeClock(1.8e9))
    for epoch in (1, 2):  # made, and replaced
        announce(storage, state, leader(epoch))
        for name in ("leader.json", "tls.json"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    # As an older version left them: what is only read again is mended at the start.
    (folder / "tls.json").chmod(0o644)
    assert protect_state(storage, state)
    assert stat.S_IMODE((folder / "tls.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
