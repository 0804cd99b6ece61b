"""The examples of datasets against plain Python, on small data."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import random
import re
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.repository import ROOT

HERE: dict[str, Any] = {"engine": "inline"}
TEXTS = {
    "a.txt": "the cat sat on the mat\nand the dog sat by the cat\n",
    "b.txt": "a dog and a cat are not a mat\n",
    "c.txt": "The end\n",
}


def _example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"example_{name}", ROOT / "examples" / "datasets" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # As if it were the script: its functions travel by value.
    for value in vars(module).values():
        if getattr(value, "__module__", "") == module.__name__:
            value.__module__ = "__main__"
    return module


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    for name, text in TEXTS.items():
        Path(name).write_text(text)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def test_top_words() -> None:
    counts = Counter(word for text in TEXTS.values() for word in _words(text))
    expected = sorted(counts.items(), key=lambda pair: (pair[1], pair[0]), reverse=True)[:5]
    assert _example("top_words").top_words(sorted(TEXTS), 5).collect(**HERE) == expected


def test_join_of_two_csv_files() -> None:
    users = [("1", "Ann"), ("2", "Bob, Jr."), ("3", "Cy")]
    orders = [("1", 2.5), ("3", 1.0), ("1", 4.0), ("9", 7.0)]
    for name, header, rows in (
        ("users.csv", ("id", "name"), users),
        ("orders.csv", ("user", "amount"), orders),
    ):
        with Path(name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    amounts: dict[str, list[float | None]] = defaultdict(list)
    for user, amount in orders:
        amounts[user].append(amount)
    expected = [
        {"user": user, "name": name, "amount": amount}
        for user, name in users
        for amount in amounts.get(user) or [None]
    ]
    assert _example("join_csv").joined("users.csv", "orders.csv").collect(**HERE) == expected


def test_mean_and_percentiles() -> None:
    rng = random.Random(3)
    lines = [(rng.choice("abc"), rng.randrange(1_000)) for _ in range(300)]
    Path("numbers").write_text("".join(f"{key} {number}\n" for key, number in lines))
    by_key: dict[str, list[int]] = defaultdict(list)
    for key, number in lines:
        by_key[key].append(number)
    found = _example("percentiles").percentiles("numbers").collect(**HERE)
    assert [row["key"] for row in found] == ["a", "b", "c"]
    for row in found:
        ordered = sorted(by_key[row["key"]])
        assert row["mean"] == pytest.approx(sum(ordered) / len(ordered))
        for name, share in (("p50", 0.5), ("p95", 0.95)):
            below = sum(number <= row[name] for number in ordered)
            assert below >= share * len(ordered)
            assert sum(number < row[name] for number in ordered) < share * len(ordered)


def test_sessions() -> None:
    rng = random.Random(4)
    visits = [(rng.randrange(50_000), rng.choice(["u", "v"]), f"/{n}") for n in range(80)]
    Path("log").write_text("".join(f"{s} {user} {page}\n" for s, user, page in visits))
    expected = []
    for user in ("u", "v"):
        times = sorted(seconds for seconds, who, _ in visits if who == user)
        start = 0
        for n in range(1, len(times) + 1):
            if n == len(times) or times[n] - times[n - 1] > 1_800:
                expected.append((user, times[start], times[n - 1], n - start))
                start = n
    found = _example("sessions").sessions("log").collect(**HERE)
    assert [(s["user"], s["start"], s["end"], s["pages"]) for s in found] == expected


def test_tfidf() -> None:
    paths = sorted(TEXTS)
    found = dict(_example("tfidf").tfidf(paths, **HERE).collect(**HERE))
    expected = {}
    for name, text in TEXTS.items():
        for word, count in Counter(_words(text)).items():
            holding = sum(word in _words(other) for other in TEXTS.values())
            expected[name, word] = count * math.log(len(TEXTS) / holding)
    assert found == pytest.approx(expected)


def test_pagerank() -> None:
    edges = [("a", "b"), ("a", "c"), ("b", "c"), ("c", "a"), ("d", "c"), ("b", "e")]
    Path("edges").write_text("".join(f"{one} {other}\n" for one, other in edges * 2))
    found = _example("pagerank").pagerank("edges", rounds=3, **HERE)
    ranks = dict.fromkeys("abcde", 0.2)
    for _ in range(3):
        new = dict.fromkeys("abcde", 0.15 / 5)
        for page, rank in ranks.items():
            targets = [other for one, other in edges if one == page] or list("abcde")
            for target in targets:
                new[target] += 0.85 * rank / len(targets)
        ranks = new
    assert found == pytest.approx(ranks)
    assert sum(found.values()) == pytest.approx(1.0)


def test_kmeans() -> None:
    rng = random.Random(6)
    middles = [(0.0, 0.0), (10.0, 10.0), (0.0, 10.0)]
    points = [(x + rng.random(), y + rng.random()) for x, y in middles for _ in range(20)]
    rng.shuffle(points)
    Path("points").write_text("".join(f"{x} {y}\n" for x, y in points))
    found = _example("kmeans").kmeans("points", 3, rounds=3, **HERE)
    # The centers that Lloyd's algorithm has after as many rounds from the same beginnings.
    centers = sorted(sorted(set(points))[:3])
    for _ in range(3):
        groups: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for point in points:
            groups[min(range(3), key=lambda n: math.dist(point, centers[n]))].append(point)
        for number, group in groups.items():
            centers[number] = (
                math.fsum(x for x, _ in group) / len(group),
                math.fsum(y for _, y in group) / len(group),
            )
    assert [tuple(pytest.approx(c) for c in center) for center in centers] == found


def test_near_duplicates() -> None:
    example = _example("near_duplicates")
    rng = random.Random(8)
    base = [[f"w{rng.randrange(500)}" for _ in range(40)] for _ in range(4)]
    documents: list[dict[str, Any]] = []
    for number, words in enumerate(base):
        changed = [*words[:-1], "other"]
        further = [*changed[:-2], "and", "more"]
        for variant in (words, changed, further):
            documents.append({"id": len(documents), "text": " ".join(variant)})
        documents.append({"id": len(documents), "text": "  ".join(words).upper()})
        documents.append({"id": len(documents), "text": f"alone {number} {rng.random()}"})
    rng.shuffle(documents)
    Path("docs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in documents))

    texts: dict[str, dict[str, Any]] = {}
    for each in sorted(documents, key=lambda document: int(document["id"])):
        texts.setdefault(" ".join(_words(each["text"])), each)
    unique = sorted(texts.values(), key=lambda document: int(document["id"]))
    found = example.exact_unique("docs.jsonl").collect(**HERE)
    assert sorted(found, key=lambda document: int(document["id"])) == unique

    leader = {each["id"]: each["id"] for each in unique}
    for _ in unique:
        for one, other in combinations(unique, 2):
            a, b = example.shingles(one["text"]), example.shingles(other["text"])
            if len(a & b) >= example.LIKE * len(a | b):
                low = min(leader[one["id"]], leader[other["id"]])
                leader[one["id"]] = leader[other["id"]] = low
    expected = [each for each in unique if leader[each["id"]] == each["id"]]
    kept = example.near_unique("docs.jsonl", **HERE).collect(**HERE)
    assert sorted(kept, key=lambda document: int(document["id"])) == expected
    assert len(expected) < len(unique) < len(documents)
