"""`mrcore run`, from the command to the receipt, on real daemons."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.support.run_support import WORD_COUNT, Place, words

INLINE = ("--engine", "inline")
"""Options of what does not depend on the engine: an embedded run takes seconds."""


@pytest.fixture
def books(place: Place) -> Counter[str]:
    """Write three inputs; return how often each word is in them."""
    place.write("wc.py", WORD_COUNT)
    counts: Counter[str] = Counter()
    for number in range(3):
        lines = list(words(2000, seed=number))
        place.write(f"in/{number}.txt", "\n".join(lines) + "\n")
        counts.update(" ".join(lines).split())
    return counts


def expected_lines(counts: Counter[str]) -> list[str]:
    return sorted(f"{word}\t{count}" for word, count in counts.items())


@pytest.mark.parametrize(("reduces", "workers"), [(16, 1), (3, 4)])
def test_word_count_equals_a_sequential_run(
    place: Place, books: Counter[str], reduces: int, workers: int
) -> None:
    place.done("run", "wc.py", "in", "-o", "out", "-r", str(reduces), "-w", str(workers))
    assert sorted(place.lines()) == expected_lines(books)
    assert len(place.parts()) == reduces
    names = {path.name for path in (place.work / "out").iterdir()}
    assert names == {*place.parts(), "_SUCCESS"}


def test_inline_gives_the_bytes_of_a_cluster(place: Place, books: Counter[str]) -> None:
    place.write("wc.py", """
        def map(key, line):
            for word in set(line.split()):
                yield word[0], word
        def reduce(key, words):
            return " ".join(words)
    """)  # fmt: skip
    place.done("run", "wc.py", "in", "-o", "a", "-r", "3", "-w", "1")
    # A cluster that the environment names is none of the inline engine's business.
    place.environment["MRCORE_MASTER"] = "127.0.0.1:1"
    # The order of a set depends on how the process was started.
    inline = place.run_process("run", "wc.py", "in", "-o", "b", "-r", "3", "--engine", "inline")
    assert inline.returncode == 0, inline.stderr
    assert place.parts("a") == place.parts("b")


def test_what_is_printed_and_what_comes_after(place: Place, books: Counter[str]) -> None:
    result = place.done("run", "wc.py", "in", "-o", "out", "-r", "2")
    assert result.stdout == ""
    assert all(line.startswith("mrcore: ") for line in result.stderr.splitlines())
    assert f"2 parts in {place.work}/out" in result.stderr
    assert f"mrcore cat {place.work}/out" in result.stderr
    assert sorted(place.done("cat", "out").stdout.splitlines()) == expected_lines(books)
    verified = place.done("verify", "out").stdout
    assert "part-00001\t" in verified
    assert verified.splitlines()[-1].startswith("ok: 2 parts")
    listed = place.done("jobs").stdout.splitlines()
    assert len(listed) == 2
    job_id, state = listed[1].split("\t")[:2]
    assert state == "succeeded"
    assert "COUNTER" not in place.done("show", job_id).stdout


def test_verify_finds_what_was_changed(place: Place, books: Counter[str]) -> None:
    place.done("run", "wc.py", "in", "-o", "out", "-r", "3", "--engine", "inline")
    path = place.work / "out" / "part-00001"
    path.write_bytes(path.read_bytes().replace(b"1", b"2"))
    (place.work / "out" / "part-00002").unlink()
    (place.work / "out" / "extra").touch()
    result = place.run("verify", "out")
    assert result.returncode == 1
    assert "mrcore: part-00001 has CRC32C" in result.stderr
    assert "mrcore: part-00002 is missing" in result.stderr
    assert "mrcore: extra is there" in result.stderr


def test_json_is_one_object(place: Place, books: Counter[str]) -> None:
    found = place.json("run", "wc.py", "in", "-o", "out", "-r", "2", "-w", "1")
    tasks = found["tasks"]
    maps = tasks["map"]["completed"]
    assert found["state"] == "succeeded"
    assert tasks == {
        "map": {"idle": 0, "in_progress": 0, "completed": maps},
        "reduce": {"idle": 0, "in_progress": 0, "completed": 2},
    }
    assert found["attempts"]["won"] == maps + 2
    assert found["attempts"]["failed"] == 0
    assert found["output"] == f"{place.work}/out"
    assert 0 < found["elapsed_seconds"] < 60
    assert "error" not in found
    receipt = json.loads((place.work / "out" / "_SUCCESS").read_text())
    assert receipt["job_id"] == found["job_id"]
    assert receipt["records_in"] == 6000


def test_counters_params_files_and_logs(place: Place) -> None:
    place.write("in.txt", "a b\nc\n")
    place.write("stop.txt", "b")
    place.write(
        "job.py",
        """
        import logging
        import sys

        def setup(given):
            global context, stop
            context = given
            stop = context.file("stop.txt").read_text().split()

        def map(key, value):
            print("seen", value)
            logging.warning("warned")
            for word in value.split():
                if word in stop:
                    context.count("stopped")
                else:
                    yield word + context.params["end"], key
        """,
    )
    arguments = ("run", "job.py", "in.txt", "-o", "out", "-w", "1", "-r", "1")
    found = place.json(*arguments, "--param", "end=!=", "--files", "stop.txt")
    assert found["counters"] == {"stopped": 1}
    assert place.lines() == ["a!=\t('in.txt', 0)", "c!=\t('in.txt', 4)"]
    logs = place.done("logs", found["job_id"], "--task", "map-00000").stdout
    seen, warned = logs.splitlines()[::2], logs.splitlines()[1::2]
    assert seen == ["seen a b", "seen c"]
    assert [line.endswith("WARNING root: warned") for line in warned] == [True, True]


def test_a_failing_plugin_shows_its_own_traceback(place: Place) -> None:
    place.write("in.txt", "fine\nbad one\n")
    plugin = place.write(
        "job.py",
        """
        def map(key, value):
            yield check(value), 1

        def check(value):
            if value.startswith("bad"):
                raise ValueError("no " + value)
            return value
        """,
    )
    arguments = ("run", "job.py", "in.txt", "-o", "out", "-w", "1")
    result = place.run(*arguments, "--json")
    assert result.returncode == 1
    assert "failed twice with the same error at the same record, so it was not" in result.stderr
    found = json.loads(result.stdout)
    assert found["state"] == "failed"
    assert found["attempts"]["failed"] == 2
    assert found["tasks"]["map"]["completed"] == 0
    for text in (result.stderr, found["error"]["traceback"]):
        assert "ValueError: no bad one" in text
        assert f'File "{plugin}", line 7, in check' in text
        assert "/mrcore/" not in text
    assert "in.txt" in found["error"]["message"]
    assert "bad one" in found["error"]["message"]
    assert "offset 5" in found["error"]["message"]
    again = f"mrcore replay {found['job_id']} map-00000 --pdb"
    assert f"debug that task on this machine: {again}\n" in result.stderr
    assert f"see the output of your code: mrcore logs {found['job_id']}\n" in result.stderr
    assert place.parts() == {}
    assert not (place.work / "out" / "_SUCCESS").exists()
    here = place.run("replay", found["job_id"], "map-00000")
    assert here.returncode == 1
    assert f'File "{plugin}", line 7, in check' in here.stderr
    assert "map-00000 fails here as in attempt 1." in here.stderr
    inline = place.run(*arguments, "--engine", "inline")
    assert inline.returncode == 1
    assert "ValueError: no bad one" in inline.stderr
    assert "/mrcore/" not in inline.stderr
    assert "mrcore logs" not in inline.stderr


def test_map_only_keeps_the_order_of_the_input(place: Place) -> None:
    place.write("in.txt", "b\na\n\xff\n".encode("latin-1"))
    place.write("job.py", "def map(key, value):\n    yield value, None\n")
    place.done("run", "job.py", "in.txt", "-o", "out", "--map-only", *INLINE)
    assert b"".join(place.parts().values()) == b"b\na\n\xff\n"


def test_total_order_over_parts(place: Place) -> None:
    lines = sorted({line.split()[0] + line.split()[1] for line in words(3000)}, reverse=True)
    place.write("in.txt", "\n".join(lines) + "\n")
    place.write("job.py", "def map(key, value):\n    yield value, None\n")
    place.done("run", "job.py", "in.txt", "-o", "out", "--total-order", "-r", "4", *INLINE)
    assert place.lines() == sorted(lines)
    assert len(place.parts()) == 4


@pytest.mark.parametrize(
    ("output_format", "compress", "name"),
    [
        ("text", "gz", "part-00000.gz"),
        ("text", "zst", "part-00000.zst"),
        ("jsonl", "bz2", "part-00000.jsonl.bz2"),
        ("csv", "none", "part-00000.csv"),
        ("parquet", "none", "part-00000.parquet"),
    ],
)
def test_cat_reads_every_format(place: Place, output_format: str, compress: str, name: str) -> None:
    place.write("in.txt", "a\nb\na\n")
    place.write("wc.py", WORD_COUNT)
    options = ("--output-format", output_format, "--compress", compress, "--engine", "inline")
    place.done("run", "wc.py", "in.txt", "-o", "out", "-r", "1", *options)
    assert list(place.parts()) == [name]
    text = place.done("cat", "out").stdout
    shown = {
        "text": "a\t2\nb\t1\n",
        "parquet": "a\t2\nb\t1\n",
        "csv": "key,value\na,2\nb,1\n",
        "jsonl": '{"key":"a","value":2}\n{"key":"b","value":1}\n',
    }
    assert text == shown[output_format]


def test_overwrite_replaces_only_what_a_receipt_names(place: Place) -> None:
    place.write("wc.py", WORD_COUNT)
    place.write("a.txt", "a\n")
    place.write("b.txt", "b\n")
    place.done("run", "wc.py", "a.txt", "-o", "out", "-r", "3", "--engine", "inline")
    refused = place.run("run", "wc.py", "b.txt", "-o", "out", "--engine", "inline")
    assert refused.returncode == 2
    place.done("run", "wc.py", "b.txt", "-o", "out", "-r", "1", *INLINE, "--overwrite")
    assert place.lines() == ["b\t1"]
    assert list(place.parts()) == ["part-00000"]
    place.write("out/mine.txt", "precious")
    refused = place.run("run", "wc.py", "a.txt", "-o", "out", "--overwrite")
    assert refused.returncode == 2
    assert place.lines() == ["b\t1"]


def test_plugin_sees_the_callers_folder_and_path(place: Place) -> None:
    """A module called `worker`, in the folder or on PYTHONPATH, is the user's own."""
    place.write("in.txt", "x\n")
    place.write("worker.py", "NAME = 'mine'\n")
    place.write("lib/master.py", "NAME = 'also mine'\n")
    place.write(
        "job.py",
        """
        import os
        import master
        import worker

        def map(key, value):
            yield worker.NAME, master.NAME
            yield "cwd", os.getcwd()
            yield "env", os.environ["FLAVOUR"]
        """,
    )
    place.environment |= {"PYTHONPATH": str(place.work / "lib"), "FLAVOUR": "salt"}
    place.done("run", "job.py", "in.txt", "-o", "out", "-w", "1", "-r", "1")
    assert place.lines() == [f"cwd\t{place.work}", "env\tsalt", "mine\talso mine"]


def test_a_sum_of_counters_beyond_64_bits_is_told_whole(place: Place) -> None:
    place.write(
        "big.py",
        "def setup(given):\n"
        "    global context\n"
        "    context = given\n"
        "def count():\n"
        "    context.count('up', 2**62)\n"
        "    context.count('down', -2**63)\n"
        "def map(key, value):\n"
        "    count()\n"
        "    yield value, 1\n"
        "def reduce(key, values):\n"
        "    count()\n",
    )
    for number in range(3):
        place.write(f"in/{number}.txt", "line\n")
    summed = {"up": 4 * 2**62, "down": -4 * 2**63}
    for engine in ("embedded", "inline"):
        run = place.done(
            "run", "big.py", "in", "-o", engine, "-r", "1", "-w", "1", "--engine", engine, "--json"
        )
        assert json.loads(run.stdout)["counters"] == summed
        receipt = json.loads((place.work / engine / "_SUCCESS").read_text())
        assert receipt["counters"] == summed


def test_too_many_names_of_counters_fail_the_job_inline_as_on_a_cluster(place: Place) -> None:
    place.write(
        "many.py",
        "def setup(given):\n"
        "    global context\n"
        "    context = given\n"
        "def count():\n"
        "    for number in range(600):\n"
        "        context.count(f'{context.task} {number}')\n"
        "def map(key, value):\n"
        "    count()\n"
        "    yield value, 1\n"
        "def reduce(key, values):\n"
        "    count()\n",
    )
    place.write("in.txt", "line\n")
    failed = place.run("run", "many.py", "in.txt", "-o", "out", "-r", "1", "--engine", "inline")
    assert failed.returncode == 1
    assert "The job counts under 1,200 names, and 1,000 is the limit." in failed.stderr
    assert not (place.work / "out" / "_SUCCESS").exists()


def test_a_counter_of_a_task_beyond_64_bits_fails_by_name(place: Place) -> None:
    place.write("in.txt", "one\ntwo\n")
    place.write(
        "big.py",
        "def setup(context):\n"
        "    global count\n"
        "    count = context.count\n"
        "def map(key, value):\n"
        "    count('bytes', 2**70)\n"
        "    yield value, 1\n",
    )
    failed = place.run("run", "big.py", "in.txt", "-o", "out", *INLINE)
    assert failed.returncode == 1
    assert "OverflowError: the counter 'bytes' of this task would be" in failed.stderr
    assert "the record at offset 0 of in.txt" in failed.stderr
    assert "big.py" in failed.stderr
