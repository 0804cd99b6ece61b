"""Bad code under a real master: crashes, limits, and modules that are called like ours."""

from __future__ import annotations

import json

import pytest

from tests.support.run_support import Place


def test_a_record_that_crashes_its_process_is_skipped_where_that_is_allowed(place: Place) -> None:
    place.write("crash.py", """
        import ctypes
        def map(key, value):
            if value == "evil":
                ctypes.string_at(0)
            yield value, key[1]
    """)  # fmt: skip
    place.write("in.txt", "good\nfine\nevil\nlast\n")
    arguments = ("run", "crash.py", "in.txt", "-o", "out", "-w", "1", "--map-only")
    refused = place.run(*arguments)
    assert refused.returncode == 1
    assert "crashed with a segmentation fault (signal 11)" in refused.stderr
    assert "at work on the record at offset 10 of in.txt, crashed" in refused.stderr
    place.done(*arguments[:4], "skipped", *arguments[5:], "--max-bad-records", "1")
    assert place.lines("skipped") == ["good\t0", "fine\t5", "last\t15"]
    (bad,) = (place.work / "skipped/_bad").iterdir()
    assert "evil" in bad.read_text()
    assert "crashed with a segmentation fault" in json.loads(bad.read_text())["cause"]


def test_a_key_that_ends_its_process_is_skipped_where_that_is_allowed(place: Place) -> None:
    place.write("keys.py", """
        import os
        def map(key, value):
            yield value, 1
        def reduce(key, values):
            if key == "evil":
                os._exit(3)
            yield key, sum(values)
    """)  # fmt: skip
    place.write("in.txt", "good\nevil\nfine\nevil\n")
    arguments = ("run", "keys.py", "in.txt", "-o", "out", "-w", "1", "-r", "1")
    result = place.done(*arguments, "--max-bad-records", "1")
    assert "at work on the key 'evil' in reduce, exited with status 3" in result.stderr
    assert place.lines() == ["fine\t1", "good\t1"]
    bad = json.loads((place.work / "out/_bad/reduce-00000.jsonl").read_text())
    assert (bad["shown"], bad["record"]) == ("reduce", "'evil'")
    assert "exited with status 3" in bad["cause"]


@pytest.mark.parametrize(
    ("body", "option", "sentence"),
    [
        (
            "hog = bytearray(b'x') * (600 << 20); threading.Event().wait()",
            "--memory=300MiB",
            "MiB of the 300 MiB that --memory allows a slot",
        ),
        (
            "threading.Event().wait()",
            "--task-timeout=0.5s",
            "ran longer than the 0.5 s that --task-timeout allows",
        ),
        ("os._exit(3)", "--param=a=b", "exited with status 3 without a traceback"),
    ],
)
def test_limits_and_exits_are_named(place: Place, body: str, option: str, sentence: str) -> None:
    place.write("bad.py", f"import os, threading\ndef map(key, value):\n    {body}\n")
    place.write("in.txt", "x\n")
    arguments = ("run", "bad.py", "in.txt", "-o", "out", "-w", "1", "--max-attempts", "1")
    result = place.run(*arguments, option)
    assert result.returncode == 1
    assert sentence in result.stderr
    assert {path.name for path in place.work.glob("out/*")} <= {"_tmp"}


def test_the_users_modules_may_be_called_like_ours(place: Place) -> None:
    for name in ("worker", "master", "util"):
        place.write(f"{name}.py", f"me = 'my {name}'\n")
    place.write("job.py", """
        import worker, master, util
        def map(key, value):
            yield worker.me, master.me + util.me
    """)  # fmt: skip
    place.write("in.txt", "x\n")
    place.environment["PYTHONPATH"] = str(place.work)
    place.done("run", "job.py", "in.txt", "-o", "out", "-w", "1", "--map-only")
    assert place.lines() == ["my worker\tmy mastermy util"]
