"""Addresses and credentials files."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest

from mrcore.errors import ClusterUnreachableError, UsageError
from mrcore.rpc.cluster import (
    DEFAULT_PORT,
    Credentials,
    format_address,
    is_loopback,
    load_credentials,
    parse_address,
    save_credentials,
    state_home,
)
from mrcore.rpc.credentials import find_credentials
from tests.support.fake_clock import FakeClock


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("host.example:0", "host.example", 0),
        ("host", "host", DEFAULT_PORT),
        ("[::1]:7", "::1", 7),
        ("[::1]", "::1", DEFAULT_PORT),
    ],
)
def test_an_address_is_host_and_port(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)
    assert parse_address(format_address(host, port)) == (host, port)


@pytest.mark.parametrize(
    "text",
    ["", ":", ":80", "host:", "host:x", "host:-1", "host:65536", "::1", "::1:80", "a b:1",
     "http://host:80", "user@host:80", "[::1", "host:٣"],
)  # fmt: skip
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="is not an address"):
        parse_address(text)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_loopback_is_recognised(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example", "master", ""])
def test_everything_else_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_the_state_home_follows_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert state_home() == Path("/somewhere/mrcore")
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_STATE_HOME", ignored)
        assert state_home() == Path.home() / ".local" / "state" / "mrcore"
    of_the_account = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local" / "state" / "mrcore"
    for no_home in ("", "relative"):
        monkeypatch.setenv("HOME", no_home)
        assert state_home() == of_the_account
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(UsageError, match="has no home, so there is no place"):
        state_home()


def test_credentials_that_cannot_be_written_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    credentials = Credentials(address="h:1", token="t")
    with pytest.raises(UsageError, match=r"file/deep, cannot be written \(not a directory\)"):
        save_credentials(credentials, tmp_path / "file" / "deep" / "7350.json")


def test_credentials_are_for_their_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "clusters" / "7350.json"
    for token in ("one", "two"):
        credentials = Credentials(address="h:1", token=token)
        save_credentials(credentials, path)
        assert load_credentials(path) == credentials
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["7350.json"]


def test_a_file_that_has_no_credentials_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{}")
    with pytest.raises(UsageError, match="is not a credentials file"):
        load_credentials(tmp_path / "x")
    with pytest.raises(UsageError, match="cannot be read"):
        load_credentials(tmp_path / "y")


def test_nothing_given_is_told() -> None:
    with pytest.raises(UsageError, match="Which cluster"):
        find_credentials(None)


def test_a_missing_master_comes_before_missing_credentials() -> None:
    clock = FakeClock()
    with pytest.raises(ClusterUnreachableError, match=r"No master answers at 127\.0\.0\.1:1 "):
        find_credentials("127.0.0.1:1", None, "/no/such/file", clock=clock)
    # It was tried again, for some seconds and less than ten.
    assert 4 < sum(clock.slept) < 6


def test_a_name_that_does_not_resolve_is_told_at_once() -> None:
    clock = FakeClock()
    with pytest.raises(ClusterUnreachableError, match=r"no-such-host\.invalid"):
        find_credentials("no-such-host.invalid:1", clock=clock)
    assert not clock.slept


def test_another_machine_needs_credentials() -> None:
    with pytest.raises(UsageError, match="wants the cluster's token"):
        find_credentials("10.0.0.1:1", reach_seconds=None)
