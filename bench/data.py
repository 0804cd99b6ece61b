"""The data of the benchmarks: the same bytes on every machine, made once and kept under .bench/."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

_MIB: Final = 1 << 20
_VOCABULARY: Final = 200_000
_WORDS_A_LINE: Final = 11
_RECORD_BYTES: Final = 100
_KEY_BYTES: Final = 10
_ALPHABET: Final = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", np.uint8)


def kept(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return the folder, made by `make` if it is not there; half a folder is never left behind."""
    if not folder.exists():
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make(partial)
        partial.rename(folder)
    return folder


def words(home: Path, megabytes: int) -> Path:
    """Return a folder with about `megabytes` MiB of text in files of 16 MiB.

    Words of 2 to 12 letters, drawn as Zipf's law has it, 11 a line, from a vocabulary of 200,000.
    """
    return kept(home / f"words-{megabytes}", lambda folder: _make_words(folder, megabytes))


def _make_words(folder: Path, megabytes: int) -> None:
    rng = np.random.Generator(np.random.PCG64(20_040))
    lengths = rng.integers(2, 13, _VOCABULARY)
    letters = _ALPHABET[rng.integers(0, 26, int(lengths.sum()))].tobytes().decode()
    ends = np.cumsum(lengths)
    vocabulary = np.array(
        [letters[end - length : end] for end, length in zip(ends, lengths, strict=True)], object
    )
    weights = np.cumsum(1.0 / np.arange(1, _VOCABULARY + 1))
    weights /= weights[-1]
    remaining = megabytes * _MIB
    number = 0
    while remaining > 0:
        size = 0
        limit = min(16 * _MIB, remaining)
        with (folder / f"words-{number:03d}.txt").open("wb") as file:
            while size < limit:
                drawn = np.searchsorted(weights, rng.random((25_000, _WORDS_A_LINE)))
                rows = vocabulary[np.minimum(drawn, _VOCABULARY - 1)].tolist()
                size += file.write("".join(f"{' '.join(row)}\n" for row in rows).encode())
        remaining -= size
        number += 1


def records(home: Path, count: int) -> Path:
    """Return a folder with `count` lines of 100 bytes, a random key of 10 in front, in 16 files."""
    return kept(home / f"records-{count}", lambda folder: _make_records(folder, count))


def _make_records(folder: Path, count: int) -> None:
    rng = np.random.Generator(np.random.PCG64(1_991))
    borders = np.linspace(0, count, 17).astype(int)
    for number in range(16):
        with (folder / f"records-{number:02d}.txt").open("wb") as file:
            for start in range(borders[number], borders[number + 1], 100_000):
                rows = min(100_000, borders[number + 1] - start)
                file.write(_record_block(rng, start, rows).tobytes())


def _record_block(rng: np.random.Generator, start: int, rows: int) -> npt.NDArray[np.uint8]:
    block = np.empty((rows, _RECORD_BYTES), np.uint8)
    block[:, :_KEY_BYTES] = rng.integers(33, 127, (rows, _KEY_BYTES), dtype=np.uint8)
    block[:, _KEY_BYTES] = ord(" ")
    numbers = np.arange(start, start + rows)
    for place in range(12):
        block[:, 22 - place] = numbers // 10**place % 10 + ord("0")
    filler = (b" The quick brown fox jumps over the lazy dog." * 2)[: _RECORD_BYTES - 24]
    block[:, 23:-1] = np.frombuffer(filler, np.uint8)
    block[:, -1] = ord("\n")
    return block


def keys(home: Path, count: int) -> Path:
    """Return a folder with the keys of `key_of` in 16 files, 8 a line; every tenth comes twice.

    They lie there in no order, and the second one of a key in another file than the first.
    """
    return kept(home / f"keys-{count}", lambda folder: _make_keys(folder, count))


def key_numbers(count: int) -> npt.NDArray[np.int64]:
    """Return the numbers of the `count` different keys: which of 2^40 they are."""
    # An odd multiplier permutes the numbers below a power of two.
    return np.arange(count, dtype=np.int64) * 0x5851F42D4D & (1 << 40) - 1


def _make_keys(folder: Path, count: int) -> None:
    numbers = key_numbers(count)
    numbers = np.concatenate([numbers, numbers[::10]])
    for number, some in enumerate(np.array_split(numbers, 16)):
        with (folder / f"keys-{number:02d}.txt").open("wb") as file:
            for start in range(0, len(some), 80_000):
                words = [f"{n:010x}" for n in some[start : start + 80_000].tolist()]
                lines = (" ".join(words[at : at + 8]) for at in range(0, len(words), 8))
                file.write("".join(f"{line}\n" for line in lines).encode())


def small(home: Path) -> Path:
    """Return a folder with one file of a hundred lines."""

    def make(folder: Path) -> None:
        text = "".join(f"line {n} of a small file\n" for n in range(100))
        (folder / "small.txt").write_text(text)

    return kept(home / "small", make)
