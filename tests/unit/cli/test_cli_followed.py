"""`mrcore logs --follow`: each byte once, and a line where the attempt changes."""

from __future__ import annotations

from mrcore.cli.followed import Follower
from mrcore.model.snapshots import AttemptLog


def log(attempt: str, text: bytes, size_bytes: int | None = None) -> AttemptLog:
    size_bytes = len(text) if size_bytes is None else size_bytes
    return AttemptLog(attempt=attempt, text=text, size_bytes=size_bytes)


def looks(*looks: list[AttemptLog], tail_bytes: int = 100) -> str:
    follower = Follower(tail_bytes)
    return b"".join(b"".join(follower.news(tuple(logs))) for logs in looks).decode()


def test_each_look_shows_what_is_new() -> None:
    shown = looks(
        [],
        [log("a", b"one\n")],
        [log("a", b"one\n")],
        [log("a", b"one\ntwo\n"), log("b", b"x\n")],
        [log("a", b"one\ntwo\n"), log("b", b"x\ny\n")],
        [log("a", b"one\ntwo\nthree\n"), log("b", b"x\ny\n")],
    )
    assert shown == ("==> a <==\none\ntwo\n==> b <==\nx\ny\n==> a <==\nthree\n")


def test_what_came_before_is_cut_to_the_tail() -> None:
    assert looks([log("a", b"0123456789\n")], tail_bytes=4) == (
        "==> a <==\n… 7 bytes are left out\n789\n"
    )


def test_more_than_is_kept_between_two_looks_is_named() -> None:
    shown = looks([log("a", b"ab")], [log("a", b"yz", size_bytes=10)])
    assert shown == "==> a <==\nab… 6 bytes are left out\nyz"


def test_a_log_that_began_anew_is_shown_from_there() -> None:
    assert looks([log("a", b"old text\n")], [log("a", b"new\n")]) == "==> a <==\nold text\nnew\n"
