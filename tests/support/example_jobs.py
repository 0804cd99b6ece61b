"""Expected output of each example, by a few sequential lines that share nothing with it."""

from __future__ import annotations

import math
import random
import re
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.support.repository import ROOT

EXAMPLES = ROOT / "examples"

Texts = Mapping[str, str]
"""The inputs: text by the file's name as it is given to the job."""


@dataclass(frozen=True)
class Example:
    """One example: how it is run, and the lines that have to come out in whatever order."""

    plugin: str
    expected: Callable[[Texts], list[str]]
    make_inputs: Callable[[Path], list[Path]]
    input_format: str = "text"
    total_order: bool = False
    params: Mapping[str, str] = field(default_factory=dict)


def lines_of(text: str) -> list[str]:
    """Return the lines without their ends; only LF ends one here."""
    return text.removesuffix("\n").split("\n") if text else []


def library_sources(folder: Path) -> list[Path]:
    """Return some sources of Python's library: real text that every machine has."""
    library = Path(sysconfig.get_path("stdlib"))
    return [library / name for name in ("argparse.py", "heapq.py", "this.py", "textwrap.py")]


def count_lines(folder: Path) -> list[Path]:
    """Write what word count could have left: distinct words, with counts that are often equal."""
    rng = random.Random(5)
    words = [f"word{n}" for n in range(3_000)]
    rng.shuffle(words)
    files = [folder / "part-00000", folder / "part-00001"]
    for number, file in enumerate(files):
        chosen = words[number::2]
        file.write_text("".join(f"{word}\t{rng.randrange(40)}\n" for word in chosen))
    return files


def shop(folder: Path) -> list[Path]:
    """Write users and orders; some of each have no partner."""
    rng = random.Random(7)
    users, orders = folder / "users.tsv", folder / "orders.tsv"
    users.write_text("".join(f"{n}\tname {n}\n" for n in range(0, 300, 2)))
    orders.write_text(
        "".join(
            f"{n}\t{rng.randrange(250)}\t{rng.randrange(10_000) / 100:.2f}\n" for n in range(2000)
        )
    )
    return [orders, users]


def weather(folder: Path) -> list[Path]:
    """Write measurements of a few stations, the days in disorder."""
    rng = random.Random(11)
    rows = [
        f"station {s},2026-{d // 28 + 1:02d}-{d % 28 + 1:02d},{rng.randrange(-200, 300) / 10}"
        for s in range(20)
        for d in range(100)
    ]
    rows.append("lonely,2026-01-01,0.0")
    rng.shuffle(rows)
    files = [folder / "north.csv", folder / "south.csv"]
    for number, file in enumerate(files):
        file.write_text("\n".join(rows[number::2]) + "\n")
    return files


def counted(words: Counter[str]) -> list[str]:
    """Return a line a word."""
    return [f"{word}\t{n}" for word, n in words.items()]


def word_counts(texts: Texts) -> list[str]:
    return counted(Counter(re.findall(r"\w+", "\n".join(texts.values()).lower())))


def space_separated_counts(texts: Texts) -> list[str]:
    return counted(Counter(" ".join(texts.values()).split()))


def letter_words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text)


def index(texts: Texts) -> list[str]:
    files: dict[str, set[str]] = defaultdict(set)
    for file, text in texts.items():
        for word in re.findall(r"\w+", text.lower()):
            files[word].add(file)
    return [f"{word}\t{' '.join(sorted(found))}" for word, found in files.items()]


def matching_lines(texts: Texts) -> list[str]:
    found = []
    for file, text in texts.items():
        offset = 0
        for line in lines_of(text):
            if "raise" in line:
                found.append(f"{file}:{offset}\t{line}")
            offset += len(line.encode()) + 1
    return found


def all_lines_sorted(texts: Texts) -> list[str]:
    return sorted(line for text in texts.values() for line in lines_of(text))


def best_seven(texts: Texts) -> list[str]:
    rows = [line.split("\t") for text in texts.values() for line in lines_of(text)]
    rows.sort(key=lambda row: (-int(row[1]), row[0]))
    return ["\t".join(row) for row in rows[:7]]


def orders_with_names(texts: Texts) -> list[str]:
    by_name = {Path(file).name: text for file, text in texts.items()}
    names = dict(line.split("\t") for line in lines_of(by_name["users.tsv"]))
    orders = [line.split("\t") for line in lines_of(by_name["orders.tsv"])]
    return [f"{order}\t{names[user]} {sum_}" for order, user, sum_ in orders if user in names]


def steepest_rises(texts: Texts) -> list[str]:
    stations: dict[str, dict[str, float]] = defaultdict(dict)
    for text in texts.values():
        for line in lines_of(text):
            station, day, celsius = line.split(",")
            stations[station][day] = float(celsius)
    found = []
    for station, measured in stations.items():
        days = sorted(measured)
        rises = [(measured[b] - measured[a], b) for a, b in pairwise(days)]
        if rises:
            rise, day = max(rises, key=lambda pair: pair[0])
            found.append(f"{station}\t{day} {rise:+.1f}")
    return found


def classic_counts(texts: Texts) -> list[str]:
    return counted(Counter(word for text in texts.values() for word in letter_words(text)))


def classic_index(texts: Texts) -> list[str]:
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted(texts):
        for word in set(letter_words(texts[file])):
            found[word].append(file)
    return [f"{word}\t{len(files)} {','.join(files)}" for word, files in found.items()]


def first_letters(texts: Texts) -> list[str]:
    words = (word for text in texts.values() for word in re.findall("[a-z]+", text.lower()))
    return counted(Counter(word[0] for word in words))


def typical_words(texts: Texts) -> list[str]:
    counts = {file: Counter(re.findall("[a-z]+", text.lower())) for file, text in texts.items()}
    having = Counter(word for words in counts.values() for word in words)
    lines = []
    for file, words in counts.items():
        weights = {word: n * math.log(len(texts) / having[word]) for word, n in words.items()}
        ranked = sorted(weights, key=lambda word: (-weights[word], word))
        lines.append(f"{file}\t{' '.join(ranked[:3])}")
    return lines


def file_facts(texts: Texts) -> list[str]:
    """Return the lines that the crashing example has to give."""
    return [
        f"files\t{' '.join(sorted(texts))}",
        "characters\t" + " ".join(sorted(f"{file}={len(text)}" for file, text in texts.items())),
        "lines\t" + " ".join(sorted(f"{f}={len(text.splitlines())}" for f, text in texts.items())),
    ]


ALL = {
    example.plugin: example
    for example in (
        Example("wordcount.py", word_counts, library_sources),
        Example("wordcount_arrow.py", space_separated_counts, library_sources, "arrow"),
        Example("wordcount_duckdb.py", space_separated_counts, library_sources, "arrow"),
        Example("wordcount_counter.py", word_counts, library_sources),
        Example("inverted_index.py", index, library_sources),
        Example("grep.py", matching_lines, library_sources, params={"pattern": "raise"}),
        Example("sort.py", all_lines_sorted, library_sources, total_order=True),
        Example("sort_arrow.py", all_lines_sorted, library_sources, "arrow", total_order=True),
        Example("topk.py", best_seven, count_lines, params={"k": "7"}),
        Example("tfidf.py", typical_words, library_sources, params={"files": "4"}),
        Example("join.py", orders_with_names, shop),
        Example("secondary_sort.py", steepest_rises, weather),
        Example("classic/wordcount.py", classic_counts, library_sources, "whole"),
        Example("classic/indexer.py", classic_index, library_sources, "whole"),
        Example(
            "classic/early_exit.py",
            first_letters,
            library_sources,
            "whole",
            params={"pause": "0.3"},
        ),
    )
}
