"""The benchmarks measure what they say: their data, their peer, their clock and their verdicts."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from bench import data, measure
from bench.cases.memory import check_distinct
from bench.rows import Row, Target, WrongOutputError
from bench.site import ROOT, parts, same_bytes, same_lines


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_data_is_the_same_whenever_it_is_made(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    assert content(data.words(a, 1)) == content(data.words(b, 1))
    assert content(data.records(a, 1_000)) == content(data.records(b, 1_000))


def test_words_are_many_and_some_are_frequent(tmp_path: Path) -> None:
    text = b"".join(content(data.words(tmp_path, 1)).values())
    assert len(text) >= 1 << 20
    counts = Counter(text.split())
    assert len(counts) > 20_000
    assert counts.most_common(1)[0][1] > len(text.split()) / 50


def test_records_have_a_hundred_bytes_and_keys_of_their_own(tmp_path: Path) -> None:
    lines = b"".join(content(data.records(tmp_path, 2_000)).values()).splitlines(keepends=True)
    assert len(lines) == 2_000
    assert {len(record) for record in lines} == {100}
    assert len({record[:10] for record in lines}) == 2_000
    assert [int(record[11:23]) for record in lines] == list(range(2_000))


def test_data_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    folder = data.small(tmp_path)
    (folder / "small.txt").write_text("kept")
    assert (data.small(tmp_path) / "small.txt").read_text() == "kept"


def test_half_made_data_is_not_taken(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        data.kept(tmp_path / "x", fail)
    assert not (tmp_path / "x").exists()
    assert list(data.kept(tmp_path / "x", lambda folder: None).iterdir()) == []


@pytest.mark.parametrize(
    "script", ["wordcount_counter.py", "wordcount_generator.py", "wordcount_partitions.py"]
)
def test_scripts_count_words(tmp_path: Path, script: str) -> None:
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    files[0].write_text("to be or\nnot to be\n")
    files[1].write_text("be")
    out = tmp_path / "out"
    measure.run([sys.executable, ROOT / "bench/by_hand" / script, out, *files])
    assert sorted(out.read_text().splitlines()) == ["be\t3", "not\t1", "or\t1", "to\t2"]


def test_script_lists_the_files_of_each_word(tmp_path: Path) -> None:
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    files[0].write_text("to be or\nnot to be\n")
    files[1].write_text("be")
    out = tmp_path / "out"
    measure.run([sys.executable, ROOT / "bench/by_hand/inverted_index.py", out, *files])
    assert out.read_text() == "be\ta.txt b.txt\nnot\ta.txt\nor\ta.txt\nto\ta.txt\n"


def test_memory_is_that_of_all_processes(tmp_path: Path) -> None:
    """A parent and its child hold 64 MiB each, for many times as long as a sample takes."""
    program = (
        "import subprocess, sys, time\n"
        "held = b'x' * (64 << 20)\n"
        "if len(sys.argv) < 2: subprocess.run([sys.executable, sys.argv[0], 'child'], check=True)\n"
        "else: time.sleep(1.0)\n"
    )
    script = tmp_path / "hold.py"
    script.write_text(program)
    measured = measure.run([sys.executable, script], sample_memory=True)
    assert measured.pss_bytes > 128 << 20
    assert measured.rss_bytes >= measured.pss_bytes


def test_processor_time_is_that_of_all_processes() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    program = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    )
    assert measure.run([sys.executable, "-c", program]).cpu_seconds >= 0.3


def test_command_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="ended with 3: no luck"):
        measure.run(
            [sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"]
        )


@pytest.mark.parametrize(
    ("value", "higher", "verdict"),
    [
        (3.0, True, "aim"),
        (2.0, True, "reached"),
        (0.5, True, "MISSED"),
        (0.1, False, "aim"),
        (0.5, False, "reached"),
        (2.0, False, "MISSED"),
    ],
)
def test_verdict_goes_the_right_way(value: float, higher: bool, verdict: str) -> None:
    target = Target(1.0, 2.5 if higher else 0.2, higher)
    row = Row("a case", value, "x", target, "detail")
    assert row.verdict == verdict == row.record()["verdict"]
    assert verdict in row.line()
    assert ("at least 1 x" if higher else "at most 1 x") in row.line()


def test_figure_without_a_target_has_no_verdict() -> None:
    row = Row("a case", 1.0, "x", Target(None), "detail")
    assert row.verdict == ""
    assert "at least" not in row.line()


def test_outputs_that_differ_are_told_apart(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "part-00000").write_text("b\t1\n")
    (out / "part-00001").write_text("a\t1\n")
    peer = tmp_path / "peer"
    peer.write_text("a\t1\nb\t1\n")
    assert same_lines(out, peer)
    assert not same_bytes(out, peer)
    peer.write_text("b\t1\na\t1\n")
    assert same_bytes(out, peer)
    peer.write_text("a\t1\nb\t2\n")
    assert not same_lines(out, peer)


def test_keys_are_all_there_and_every_tenth_twice(tmp_path: Path) -> None:
    files = content(data.keys(tmp_path, 1_000))
    counts = Counter(b"".join(files.values()).split())
    assert len(files) == 16
    assert (len(counts), counts.total()) == (1_000, 1_100)
    assert {len(key) for key in counts} == {10}
    assert list(counts) != sorted(counts)
    assert all(max(Counter(text.split()).values()) == 1 for text in files.values())


def write_distinct(folder: Path, counts: Counter[bytes]) -> None:
    folder.mkdir(exist_ok=True)
    keys = sorted(counts)
    for part in range(2):
        lines = [b"%s\t%d\n" % (key, counts[key]) for key in keys[part::2]]
        (folder / f"part-{part:05d}").write_bytes(b"".join(lines))


def test_output_of_distinct_keys_is_checked_key_by_key(tmp_path: Path) -> None:
    words = b"".join(content(data.keys(tmp_path, 1_000)).values()).split()
    out = tmp_path / "out"
    write_distinct(out, Counter(words))
    check_distinct(out, 1_000)
    for wrong in (words[1:], [*words, words[0]], [*words[1:], b"0123456789"]):
        write_distinct(out, Counter(wrong))
        with pytest.raises(WrongOutputError, match="does not hold each of 1,000 keys"):
            check_distinct(out, 1_000)
    write_distinct(out, Counter(words))
    (first, second) = parts(out)
    first.write_bytes(b"".join(reversed(first.read_bytes().splitlines(keepends=True))))
    with pytest.raises(WrongOutputError, match="do not ascend"):
        check_distinct(out, 1_000)
    write_distinct(out, Counter(words))
    second.write_bytes(b"not a key\n")
    with pytest.raises(WrongOutputError, match="lines of 13 bytes"):
        check_distinct(out, 1_000)
