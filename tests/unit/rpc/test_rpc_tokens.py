"""Tokens: what is accepted, for how long, and what a check shows."""

from __future__ import annotations

import hmac

import pytest

from mrcore.rpc.roles import Role
from mrcore.rpc.tokens import (
    FORMER_MAX,
    TOKEN_BYTES_MAX,
    Accepted,
    RoleToken,
    TokenTable,
    hash_of,
    new_token,
)
from tests.support.fake_clock import FakeClock


def header(token: str) -> bytes:
    return f"Bearer {token}".encode()


def test_a_token_opens_for_its_roles_until_it_expires() -> None:
    clock = FakeClock(100.0)
    table = TokenTable(
        [
            Accepted(hash_of("u"), Role.USER),
            Accepted(hash_of("w"), Role.WORKER, expires_at=110.0),
            Accepted(hash_of("both"), Role.USER),
            Accepted(hash_of("both"), Role.WORKER),
        ],
        clock,
    )
    assert table.roles_of(header("u")) == {Role.USER}
    assert table.roles_of(header("w")) == {Role.WORKER}
    assert table.roles_of(header("both")) == set(Role)
    clock.now = 110.0
    assert table.roles_of(header("w")) == set()
    assert [one.role for one in table] == [Role.USER, Role.USER, Role.WORKER]


@pytest.mark.parametrize(
    "given",
    [b"", b"u", b"bearer u", b"Bearer", b"Bearer ", b"Bearer u ", b"Bearer \xff", b"Bearer U"],
)
def test_what_is_not_the_header_of_a_token_opens_nothing(given: bytes) -> None:
    assert TokenTable([Accepted(hash_of("u"), Role.USER)]).roles_of(given) == set()


def test_an_endless_token_is_not_looked_at() -> None:
    token = "x" * (TOKEN_BYTES_MAX + 1)
    assert TokenTable([Accepted(hash_of(token), Role.USER)]).roles_of(header(token)) == set()


def test_all_tokens_are_compared_in_constant_time_whichever_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []
    compare = hmac.compare_digest

    def counted(given: bytes, wanted: bytes) -> bool:
        compared.append((len(given), len(wanted)))
        return compare(given, wanted)

    monkeypatch.setattr("mrcore.rpc.tokens.hmac.compare_digest", counted)
    table = TokenTable(Accepted(hash_of(str(n)), Role.USER) for n in range(5))
    for token in ("0", "4", "none", "a longer one that is not there either"):
        compared.clear()
        table.roles_of(header(token))
        assert compared == [(32, 32)] * 5


def test_a_token_that_was_accepted_before_is_not_compared_again_until_tokens_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = Accepted(hash_of("1"), Role.USER), Accepted(hash_of("2"), Role.WORKER)
    table = TokenTable([one, other])
    assert table.roles_of(header("1")) == {Role.USER}
    with monkeypatch.context() as patch:
        patch.setattr("mrcore.rpc.tokens.hmac.compare_digest", None)
        assert table.roles_of(header("1")) == {Role.USER}
    table.replace([other])
    assert table.roles_of(header("1")) == set()
    table.replace([one, other])
    assert table.roles_of(header("1")) == {Role.USER}


def test_more_headers_than_a_table_remembers_are_accepted_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mrcore.rpc.tokens.KNOWN_MAX", 2)
    table = TokenTable(Accepted(hash_of(str(n)), Role.USER) for n in range(5))
    for n in (*range(5), *range(5)):
        assert table.roles_of(header(str(n))) == {Role.USER}
    assert len(table._known) <= 2


def test_a_replaced_token_ends_after_the_grace_and_never_later_than_before() -> None:
    first = RoleToken(role=Role.USER, token="1", created_at=0.0)
    second = first.rotated("2", 100.0, 10.0)
    third = second.rotated("3", 105.0, 60.0)
    ends = {one.sha256: one.expires_at for one in third.accepted()}
    assert ends == {hash_of("3"): 0.0, hash_of("2"): 165.0, hash_of("1"): 110.0}
    # What has ended is forgotten, and a token that is replaced without a grace ends at once.
    fourth = third.rotated("4", 120.0, 0.0)
    assert {one.sha256 for one in fourth.accepted()} == {hash_of("4")}


def test_replaced_tokens_are_bounded() -> None:
    own = RoleToken(role=Role.USER, token="0", created_at=0.0)
    for number in range(1, 3 * FORMER_MAX):
        own = own.rotated(str(number), float(number), 1e9)
    assert len(own.former) == FORMER_MAX
    assert own.former[0].sha256 == hash_of(str(3 * FORMER_MAX - 2))


def test_tokens_are_long_and_differ() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert min(map(len, tokens)) >= 43  # 256 bits
