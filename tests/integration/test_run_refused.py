"""Runs that cannot work: the exit code, one sentence, and nothing written under the output."""

from __future__ import annotations

import json
import os
import socket
import time

import pytest

from tests.support.run_support import WORD_COUNT, Place

PLUGINS = {
    "wc.py": WORD_COUNT,
    "syntax.py": "def map(key, value:\n",
    "nothing.py": "x = 1\n",
    "arity.py": "def map(value):\n    return []\n",
    "imports.py": "import no_such_module_anywhere\n",
    "raises.py": "raise RuntimeError('not today')\n",
    "both.py": """
        def map(key, value):
            yield value, 1
        def reduce(key, values):
            return sum(values)
        combine = reduce
        def sort_key(value):
            return value
    """,
    "no_steps.py": "steps = []\n",
    "beside.py": """
        from mrcore import Step
        def map(key, value):
            yield value, 1
        steps = [Step(map=map)]
    """,
    "half.py": "from mrcore import Step\nsteps = [Step(combine=print)]\n",
    "other.py": "from mrcore import Step\nsteps = [Step(mapper=print)]\n",
}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("missing.py in.txt -o out", "missing.py does not exist"),
        ("syntax.py in.txt -o out", "SyntaxError"),
        ("nothing.py in.txt -o out", "map"),
        ("arity.py in.txt -o out", "map"),
        ("imports.py in.txt -o out", "no_such_module_anywhere"),
        ("raises.py in.txt -o out", "not today"),
        ("both.py in.txt -o out", "sort_key"),
        ("no_steps.py in.txt -o out", "steps in no_steps.py is empty"),
        ("beside.py in.txt -o out", "has both steps and a function map at beside.py:3."),
        ("half.py in.txt -o out --engine inline", "Step 1 of half.py has neither map nor reduce."),
        ("other.py in.txt -o out", "A Step has no function mapper."),
        ("no.such.module in.txt -o out", "no.such.module does not exist"),
        ("wc.py nowhere.txt -o out", "nowhere.txt does not exist"),
        ("wc.py no*.txt -o out", "No file matches no*.txt"),
        ("wc.py in.txt -o .", "current folder"),
        ("wc.py in.txt -o /", "whole file system"),
        ("wc.py in.txt -o in.txt", "in.txt"),
        ("wc.py folder -o folder/out", "lies inside the input"),
        ("wc.py in.txt -o folder", "is not empty"),
        ("wc.py in.txt -o out --files none.txt", "none.txt does not exist"),
        ("wc.py in.txt -o s3://bucket/out", "no scheme that is known here"),
    ],
)
def test_bad_input_is_exit_2_with_a_sentence(place: Place, arguments: str, said: str) -> None:
    for name, source in PLUGINS.items():
        place.write(name, source)
    place.write("in.txt", "a\n")
    place.write("folder/in.txt", "a\n")
    before = sorted(place.work.rglob("*"))
    result = place.run("run", *arguments.split(), "-w", "1")
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert result.stdout == ""
    assert "/mrcore/" not in result.stderr
    assert [path for path in sorted(place.work.rglob("*")) if path not in before] == []


def test_bad_input_is_told_as_json_too(place: Place) -> None:
    place.write("wc.py", WORD_COUNT)
    result = place.run("run", "wc.py", "nowhere.txt", "-o", "out", "--json")
    assert result.returncode == 2
    found = json.loads(result.stdout)
    assert found["state"] == "failed"
    assert found["job_id"] is None
    assert "nowhere.txt does not exist" in found["error"]["message"]


@pytest.mark.parametrize(
    ("body", "said", "engine"),
    [
        ("yield [value], 1", "list", "inline"),
        ("yield float('nan'), 1", "NaN", "embedded"),
        ("yield (1 if value == 'a' else 1.5), 1", "float", "embedded"),
        ("yield value, lambda: 1", "pickle", "inline"),
        ("return 7", "map", "inline"),
    ],
)
def test_bad_pairs_fail_the_job_with_a_sentence(
    place: Place, body: str, said: str, engine: str
) -> None:
    place.write("job.py", f"def map(key, value):\n    {body}\n")
    place.write("in.txt", "a\nb\n")
    options = ("--engine", engine, "-w", "1", "--max-attempts", "1")
    result = place.run("run", "job.py", "in.txt", "-o", "out", *options)
    assert result.returncode == 1, result.stderr
    assert said in result.stderr
    assert "/mrcore/" not in result.stderr
    assert not (place.work / "out" / "_SUCCESS").exists()
    assert place.parts() == {}


def test_a_truncated_gz_fails_the_job(place: Place) -> None:
    import gzip

    place.write("wc.py", WORD_COUNT)
    place.write("in.txt.gz", gzip.compress(os.urandom(50_000).hex().encode())[:-1000])
    result = place.run("run", "wc.py", "in.txt.gz", "-o", "out", "-w", "1")
    assert result.returncode == 1
    assert "in.txt.gz" in result.stderr
    assert place.parts() == {}


def test_no_master_is_exit_3_within_ten_seconds(place: Place) -> None:
    place.write("wc.py", WORD_COUNT)
    place.write("in.txt", "a\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        began = time.monotonic()
        result = place.run("run", "wc.py", "in.txt", "-o", "out", "--master", address)
        took = time.monotonic() - began
    assert result.returncode == 3
    assert f"No master answers at {address}" in result.stderr
    assert took < 10.0
    assert not (place.work / "out").exists()


def test_an_unknown_job_is_exit_2(place: Place) -> None:
    for command in ("show", "watch", "logs", "cancel"):
        result = place.run(command, "no-such-job")
        assert result.returncode == 2
        assert "no-such-job" in result.stderr
