"""The tokens of a cluster in its state: made once, replaced without a gap, given and revoked."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from mrcore.errors import LimitError, UnavailableError, UsageError
from mrcore.master.shell import tokens as tokens_module
from mrcore.master.shell.token_service import LIFETIME_SECONDS_MAX, LIFETIME_SECONDS_MIN
from mrcore.master.shell.tokens import Tokens, found_on_loopback
from mrcore.model import object_names
from mrcore.rpc.bounds import seconds_within
from mrcore.rpc.certificates import TlsKey, is_issued_by, make_certificate
from mrcore.rpc.cluster import Credentials, load_credentials, loopback_file
from mrcore.rpc.credentials import read_role_token
from mrcore.rpc.roles import Role
from mrcore.rpc.tokens import hash_of
from mrcore.storage.base import Storage
from mrcore.storage.faulty import FaultyStorage, script
from mrcore.storage.local.store import LocalStorage
from mrcore.storage.memory import MemoryStorage
from tests.support.fake_clock import FakeClock

STATE = "mem://space/state"


def opened(storage: Storage, clock: FakeClock | None = None, state: str = STATE) -> Tokens:
    tokens = Tokens(storage, state, clock or FakeClock(1_000.0))
    tokens.open()
    return tokens


def roles(tokens: Tokens, token: str) -> set[Role]:
    return set(tokens.table.roles_of(f"Bearer {token}".encode()))


def everything(storage: Storage) -> bytes:
    return b"".join(storage.read(info.uri) for info in storage.list(f"{STATE}/tokens/"))


def test_each_role_has_a_token_of_its_own_that_outlives_masters() -> None:
    storage = MemoryStorage()
    first, second = opened(storage), opened(storage)
    user, worker = (first.token(role) for role in Role)
    assert user != worker
    assert [second.token(role) for role in Role] == [user, worker]
    assert roles(second, user) == {Role.USER}
    assert roles(second, worker) == {Role.WORKER}


def test_a_token_is_replaced_with_a_grace() -> None:
    storage, clock = MemoryStorage(), FakeClock(1_000.0)
    tokens = opened(storage, clock)
    old_user, worker = tokens.token(Role.USER), tokens.token(Role.WORKER)
    tokens.rotate([Role.USER], 60.0)
    new_user = tokens.token(Role.USER)
    assert new_user != old_user
    assert tokens.token(Role.WORKER) == worker
    assert roles(tokens, old_user) == roles(tokens, new_user) == {Role.USER}
    # The next master knows the same, and the old token lies there as a hash alone.
    assert roles(opened(storage, clock), old_user) == {Role.USER}
    assert old_user.encode() not in everything(storage)
    clock.now += 60.0
    assert roles(tokens, old_user) == set()
    assert roles(tokens, new_user) == {Role.USER}
    tokens.rotate(list(Role), 0.0)
    assert roles(tokens, new_user) == roles(tokens, worker) == set()


def test_whoever_reads_the_state_finds_a_token_that_is_accepted() -> None:
    storage = MemoryStorage()
    seen = []

    tokens = opened(storage)

    def watch(operation: str, uri: str) -> None:
        seen.append(roles(tokens, read_token_of(storage)) == {Role.USER})

    tokens._storage = FaultyStorage(storage, script({}), hook=watch)
    tokens.rotate([Role.USER], 0.0)
    assert len(seen) > 3
    assert all(seen)


def test_a_change_that_the_store_refuses_changes_nothing() -> None:
    storage = MemoryStorage()
    tokens = opened(storage)
    before = tokens.token(Role.USER)

    def refuse(operation: str, uri: str) -> None:
        if operation == "commit":
            raise UnavailableError("not now")

    tokens._storage = FaultyStorage(storage, script({}), hook=refuse)
    for change in (
        lambda: tokens.rotate([Role.USER], 0.0),
        lambda: tokens.create(Role.USER, "alice", 0.0),
    ):
        with pytest.raises(UnavailableError):
            change()
    assert tokens.token(Role.USER) == before
    assert len(tokens.listed()) == 2
    assert roles(tokens, before) == {Role.USER}


def test_two_masters_that_replace_a_token_at_once_agree_in_the_end() -> None:
    storage = MemoryStorage()
    one, other = opened(storage), opened(storage)
    first = one.token(Role.USER)
    beaten: list[bool] = []

    def overtake(operation: str, uri: str) -> None:
        if operation == "commit" and not beaten:
            beaten.append(True)
            other.rotate([Role.USER], 30.0)

    one._storage = FaultyStorage(storage, script({}), hook=overtake)
    one.rotate([Role.USER], 30.0)
    other.load()
    for tokens in (one, other):
        assert tokens.token(Role.USER) == read_token_of(storage)
        assert roles(tokens, first) == {Role.USER}
    assert len(one.listed()) == 4  # the worker's, the user's, and two that it has replaced


def keys(tokens: Tokens) -> list[TlsKey | None]:
    """Return the certificates of the roles, as a master has read them."""
    return [None if own is None else own.client_key for own in map(tokens.own, Role)]


def test_each_role_has_a_certificate_where_masters_want_one() -> None:
    storage = MemoryStorage()
    tokens = opened(storage)
    assert tokens.own(Role.USER) == tokens.read_own(Role.USER)
    assert keys(tokens) == [None, None]
    issuer = make_certificate(1.8e9)
    tokens.open(issuer)
    user, worker = keys(tokens)
    assert user is not None
    assert worker is not None
    assert user.key != worker.key
    assert is_issued_by(user, issuer)
    assert is_issued_by(worker, issuer)
    # It stays when a token is replaced, for other masters, and while none is wanted.
    tokens.rotate([Role.USER], 0.0)
    tokens.open(issuer)
    assert keys(tokens) == keys(opened(storage)) == [user, worker]
    # One of a former certificate of the masters is replaced.
    following = make_certificate(1.8e9)
    tokens.open(following)
    fresh = tokens.read_own(Role.USER)
    assert fresh is not None
    assert fresh.token == tokens.token(Role.USER)
    assert fresh.client_key is not None
    assert is_issued_by(fresh.client_key, following)
    assert not is_issued_by(user, following)


def test_a_certificate_that_is_added_loses_no_change_of_another_master() -> None:
    storage = MemoryStorage()
    tokens, other = opened(storage), opened(storage)
    beaten: list[bool] = []

    def overtake(operation: str, uri: str) -> None:
        if operation == "commit" and not beaten:
            beaten.append(True)
            other.rotate([Role.USER], 30.0)

    tokens._storage = FaultyStorage(storage, script({}), hook=overtake)
    tokens.open(make_certificate(1.8e9))
    assert beaten
    found = tokens.read_own(Role.USER)
    assert found is not None
    assert found.client_key is not None
    assert tokens.token(Role.USER) == other.token(Role.USER) == found.token


def read_token_of(storage: Storage) -> str:
    own = Tokens(storage, STATE, FakeClock(0.0)).read_own(Role.USER)
    assert own is not None
    return own.token


def test_a_token_is_given_by_name_and_kept_as_a_hash() -> None:
    storage, clock = MemoryStorage(), FakeClock(1_000.0)
    tokens = opened(storage, clock)
    token, made = tokens.create(Role.WORKER, "site-b", 100.0)
    assert (made.name, made.role, made.expires_at) == ("site-b", Role.WORKER, 1_100.0)
    assert token.encode() not in everything(storage)
    assert hash_of(token).encode() in everything(storage)
    following = opened(storage, clock)
    assert roles(following, token) == {Role.WORKER}
    # A rotation does not end it, and a revocation does.
    tokens.rotate(list(Role), 0.0)
    assert roles(tokens, token) == {Role.WORKER}
    assert tokens.revoke(made.token_id) == made
    assert roles(tokens, token) == set()
    endless, _ = tokens.create(Role.USER, "alice", 0.0)
    clock.now += 1e9
    assert roles(tokens, endless) == {Role.USER}


def test_only_what_is_not_in_use_by_the_cluster_is_revoked() -> None:
    tokens = opened(MemoryStorage())
    old = tokens.token(Role.USER)
    tokens.rotate([Role.USER], 1e6)
    current = hash_of(tokens.token(Role.USER))[:12]
    with pytest.raises(UsageError, match=r"own token of a user\. Replace it with"):
        tokens.revoke(current)
    with pytest.raises(UsageError, match="No token has the name or id"):
        tokens.revoke("0" * 12)
    tokens.revoke(hash_of(old)[:12])
    assert roles(tokens, old) == set()
    assert len(tokens.listed()) == 2


def test_a_token_is_revoked_by_its_name_unless_several_have_it() -> None:
    tokens = opened(MemoryStorage())
    (_, one), (_, two) = (tokens.create(Role.USER, "alice", 0.0) for _ in range(2))
    token, bob = tokens.create(Role.WORKER, "bob", 0.0)
    with pytest.raises(UsageError) as refused:
        tokens.revoke("alice")
    assert str(refused.value) == (
        f"2 tokens have the name 'alice': {one.token_id}, {two.token_id}. Revoke each by its id."
    )
    assert len(tokens.listed()) == 5, "nothing was revoked"
    assert tokens.revoke("bob") == bob
    assert roles(tokens, token) == set()
    # An id comes before a name that is the same.
    tokens.create(Role.USER, two.token_id, 0.0)
    assert tokens.revoke(two.token_id) == two
    assert tokens.revoke("alice") == one


def test_a_time_out_of_its_bounds_is_refused_in_days() -> None:
    with pytest.raises(UsageError) as refused:
        seconds_within(4_000 * 86_400.0, "the lifetime", LIFETIME_SECONDS_MIN, LIFETIME_SECONDS_MAX)
    assert str(refused.value) == (
        "The lifetime is 4,000 days. It must be from 1 second to 3,650 days."
    )


def test_tokens_given_by_name_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "ISSUED_MAX", 2)
    clock = FakeClock(1_000.0)
    tokens = opened(MemoryStorage(), clock)
    for name in ("a", "b"):
        tokens.create(Role.USER, name, 10.0)
    with pytest.raises(LimitError, match="Revoke some"):
        tokens.create(Role.USER, "c", 10.0)
    clock.now += 10.0
    tokens.create(Role.USER, "c", 10.0)  # those that have ended do not count


def test_a_token_that_another_master_has_made_is_learnt_when_it_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = MemoryStorage()
    ours, other = opened(storage), opened(storage)
    monkeypatch.setattr(tokens_module, "LOOK_AGAIN_SECONDS", 0.0)
    other.rotate([Role.USER], 0.0)
    token = other.token(Role.USER)
    assert roles(ours, token) == set()

    async def check() -> None:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            task = group.create_task(ours.run())
            while not roles(ours, token):
                ours.table.on_unknown()
                await asyncio.sleep(0.001)
            task.cancel()

    asyncio.run(check())


def test_files_are_for_their_owner_alone_and_follow_the_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    state = f"file://{tmp_path}/state"
    tokens = opened(LocalStorage(), state=state)
    tokens.create(Role.USER, "alice", 0.0)
    here = Credentials(address="127.0.0.1:7", token="", state_uri=state)
    with found_on_loopback(here, tokens, wanted=True):
        tokens.rotate([Role.WORKER], 0.0)
        tokens.open(make_certificate(1.8e9))
        for role in Role:
            found = load_credentials(loopback_file(7, role))
            assert found == here.of(read_role_token(state, role))
            assert found.client_key is not None
        files = [
            *(loopback_file(7, role) for role in Role),
            *(Path(object_names.token_uri(state, role).removeprefix("file://")) for role in Role),
            Path(object_names.issued_tokens_uri(state).removeprefix("file://")),
        ]
        assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600] * 5
    assert not any(loopback_file(7, role).exists() for role in Role)
