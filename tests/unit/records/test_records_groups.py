"""Input groups: which files a pattern takes."""

from __future__ import annotations

import pytest

from mrcore.errors import InputError
from mrcore.model.job import InputGroup
from mrcore.records.groups import Grouping
from mrcore.records.inputs import InputFile, listed
from mrcore.records.splits import cut
from mrcore.storage.base import ObjectInfo


@pytest.mark.parametrize(
    ("pattern", "uri", "taken"),
    [
        ("users*.csv", "file:///d/users-1.csv", True),
        ("users*.csv", "file:///d/users-1.csv.gz", True),
        ("users*.csv.gz", "file:///d/users-1.csv.gz", True),
        ("users*.csv", "file:///d/users/1.csv", False),
        ("users*.csv", "file:///d/my-users.csv", False),
        ("users", "file:///d/users/2024/1.csv", True),
        ("users/*.csv", "gs://b/d/users/1.csv", True),
        ("d/*/1.csv", "gs://b/d/users/1.csv", True),
        ("users/**/1.csv", "gs://b/users/a/b/1.csv", True),
        ("[ab].txt", "file:///d/b.txt", True),
        ("", "file:///d/_anything", True),
    ],
)
def test_a_pattern_takes_the_end_of_a_name(pattern: str, uri: str, taken: bool) -> None:
    grouping = Grouping([InputGroup(pattern)], "text")
    if taken:
        assert grouping.group_of(uri, uri) == 0
    else:
        with pytest.raises(InputError, match="matches none of the patterns"):
            grouping.group_of(uri, uri)


def test_the_first_pattern_that_fits_takes_the_file() -> None:
    grouping = Grouping(
        [InputGroup("a*"), InputGroup("*.csv", input_format="csv"), InputGroup("")], "jsonl"
    )
    assert [grouping.group_of(f"mem://d/{name}", name) for name in ("ab.csv", "b.csv", "c")] == [
        0, 1, 2,
    ]  # fmt: skip
    assert [grouping.format_of(group) for group in range(3)] == ["jsonl", "csv", "jsonl"]


def test_files_of_two_groups_share_no_split() -> None:
    def file(name: str, group: int) -> InputFile:
        info = ObjectInfo(uri=f"mem://d/{name}", size_bytes=10, generation="1")
        return listed(info, name, "text", group)

    files = [file("a", 0), file("b", 0), file("empty", 1), file("c", 2), file("d", 2)]
    splits = cut([f if f.shown != "empty" else _emptied(f) for f in files], slots=1)
    assert [(split.group, [p.shown for p in split.pieces]) for split in splits] == [
        (0, ["a"]), (0, ["b"]), (2, ["c"]), (2, ["d"]),
    ]  # fmt: skip
    many = [file(str(n), int(n >= 7)) for n in range(12)]
    splits = cut(many, slots=1)
    assert len(splits) == 4
    assert [p.shown for split in splits for p in split.pieces] == [str(n) for n in range(12)]
    assert all(split.group == int(int(p.shown) >= 7) for split in splits for p in split.pieces)


def _emptied(file: InputFile) -> InputFile:
    info = ObjectInfo(uri=file.uri, size_bytes=0, generation="1")
    return listed(info, file.shown, "text", file.group)
