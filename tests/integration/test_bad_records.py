"""Records and keys that are poison, on real workers: each is found, named and skipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mrcore

PLUGIN = """
import ctypes, itertools, os

def crash():
    ctypes.string_at(0)

def memory():
    held = b"x" * (500 << 20)
    os.read(os.pipe()[0], 1)

POISON = {
    "loop": lambda: sum(itertools.repeat(0)),
    "crash": crash,
    "exit": lambda: os._exit(3),
    "memory": memory,
}

def map(key, line):
    if line == "raise":
        raise ValueError("no")
    if line.startswith("map "):
        POISON[line[4:]]()
    yield line, 1

def combine(key, values):
    if key == "combine crash":
        crash()
    return sum(values)

def reduce(key, values):
    if key.startswith("reduce "):
        POISON[key[7:]]()
    yield key, sum(values)
"""
POISON = ("loop", "crash", "exit", "memory")


def test_poison_is_named_and_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    Path("poison.py").write_text(PLUGIN)
    lines = ["good", "raise", *(f"map {kind}" for kind in POISON), "combine crash"]
    lines += ["combine crash", "reduce crash", "reduce loop", "raise", "good"]
    Path("in.txt").write_text("\n".join(lines) + "\n")
    result = mrcore.run(
        "poison.py",
        inputs="in.txt",
        output="out",
        reduces=1,
        workers=1,
        memory="300MiB",
        record_timeout=3,
        max_bad_records="80%",
    )
    assert sorted(result.lines()) == ["combine crash\t2", "good\t2"]
    found = {
        path.name: [json.loads(line) for line in path.read_text().splitlines()]
        for path in Path("out/_bad").iterdir()
    }
    at_map = {bad["record"]: bad for bad in found["map-00000.jsonl"]}
    assert at_map.keys() == {"raise", *(f"map {kind}" for kind in POISON), "'combine crash'"}
    text = Path("in.txt").read_text()
    for record, bad in at_map.items():
        if not record.startswith("'"):
            assert bad["shown"] == "in.txt"
            assert text[bad["offset"] :].startswith(record)
    assert "ValueError: no" in at_map["raise"]["traceback"]
    causes = {record: bad["cause"] for record, bad in at_map.items()}
    assert "took longer than the 3 s that --record-timeout allows" in causes["map loop"]
    assert "crashed with a segmentation fault" in causes["map crash"]
    assert "exited with status 3" in causes["map exit"]
    assert "of the 300 MiB that --memory allows a slot" in causes["map memory"]
    assert "at work on the key 'combine crash' in combine, crashed" in causes["'combine crash'"]
    at_reduce = {bad["record"]: bad["cause"] for bad in found["reduce-00000.jsonl"]}
    assert at_reduce.keys() == {"'reduce crash'", "'reduce loop'"}
    assert "took longer than the 3 s" in at_reduce["'reduce loop'"]
    assert result.job.bad_records == 9  # both lines that raise among them
