"""Files that an input argument stands for, and the message when there is none."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcore.errors import InputError, PermissionDeniedError, UsageError
from mrcore.model.job import Codec
from mrcore.records.inputs import InputFile, covers, expand, named_twice, parse_input
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.registry import register

NAMES = [
    "in/a.txt",
    "in/b.txt",
    "in/c.csv",
    "in/sub/d.txt",
    "in/sub/deep/e.txt",
    "in/_SUCCESS",
    "in/.hidden",
    "in/_tmp/x.txt",
    "in/sub/.git/y.txt",
    "in/sub2/_z.txt",
    "in/sub2/f.txt",
]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    for name in NAMES:
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return str(tmp_path / "here")


def shown(cwd: str, *texts: str, skip_output: str | None = None) -> list[str]:
    files = expand([parse_input(text, cwd) for text in texts], "text", skip_output=skip_output)
    return [file.shown for file in files]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("in/a.txt", ["in/a.txt"]),
        ("./in/a.txt", ["./in/a.txt"]),
        ("in/*.txt", ["in/a.txt", "in/b.txt"]),
        ("in/?.txt", ["in/a.txt", "in/b.txt"]),
        ("in/[bc].*", ["in/b.txt", "in/c.csv"]),
        ("in/[!b].*", ["in/a.txt", "in/c.csv"]),
        ("in/[a-b].txt", ["in/a.txt", "in/b.txt"]),
        ("in/sub*/*.txt", ["in/sub/d.txt", "in/sub2/f.txt"]),
        ("in/*/d*", ["in/sub/d.txt", "in/sub/deep/e.txt"]),
        (
            "in/**/*.txt",
            ["in/a.txt", "in/b.txt", "in/sub/d.txt", "in/sub/deep/e.txt", "in/sub2/f.txt"],
        ),
        ("in/sub/**", ["in/sub/d.txt", "in/sub/deep/e.txt"]),
        ("in/sub", ["in/sub/d.txt", "in/sub/deep/e.txt"]),
        ("in/sub/", ["in/sub/d.txt", "in/sub/deep/e.txt"]),
        ("in/sub*", ["in/sub/d.txt", "in/sub/deep/e.txt", "in/sub2/f.txt"]),
        ("in/*/", ["in/sub/d.txt", "in/sub/deep/e.txt", "in/sub2/f.txt"]),
        ("in/_SUCCESS", ["in/_SUCCESS"]),
        ("in/_*", ["in/_SUCCESS", "in/_tmp/x.txt"]),
        ("in/.h*", ["in/.hidden"]),
        ("in/_tmp", ["in/_tmp/x.txt"]),
        ("../here/in/*.csv", ["../here/in/c.csv"]),
        ("../here/in/sub2", ["../here/in/sub2/f.txt"]),
        ("*/c.csv", ["in/c.csv"]),
        (
            "in",
            [
                "in/a.txt",
                "in/b.txt",
                "in/c.csv",
                "in/sub/d.txt",
                "in/sub/deep/e.txt",
                "in/sub2/f.txt",
            ],
        ),
    ],
)
def test_what_an_argument_takes(folder: str, text: str, expected: list[str]) -> None:
    assert shown(folder, text) == expected


def test_the_folder_itself_and_absolute_names(folder: str) -> None:
    assert shown(f"{folder}/in/sub2", ".") == ["./f.txt"]
    assert shown("/", f"{folder}/in/*.csv") == [f"{folder}/in/c.csv"]
    assert shown("/", f"file://{folder}/in/?.csv") == [f"file://{folder}/in/c.csv"]


def test_files_are_what_the_store_says(folder: str) -> None:
    (file,) = expand([parse_input("in/a.txt", folder)], "text")
    status = Path(folder, "in/a.txt").stat()
    assert file == InputFile(
        uri=f"file://{folder}/in/a.txt",
        shown="in/a.txt",
        size_bytes=8,
        generation=f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}",
        codec=Codec.NONE,
        format="text",
    )


def test_inputs_keep_their_order_and_doubles(folder: str) -> None:
    assert shown(folder, "in/b.txt", "in/*.txt", "in/a.txt") == [
        "in/b.txt",
        "in/a.txt",
        "in/b.txt",
        "in/a.txt",
    ]


@pytest.mark.parametrize(
    ("texts", "twice"),
    [
        (["in/a.txt", "in/b.txt", "in2"], []),
        (["in/a.txt", "./in/a.txt"], ["./in/a.txt"]),
        (["in", "in/"], ["in/"]),
        (["in/*.txt", "in/*.txt"], ["in/*.txt"]),
        (["in/*.txt", "in/b.txt"], ["in/b.txt"]),
        (["in/sub/x", "in"], ["in/sub/x"]),
        (["in/_x", "in", "in/*", "in/sub/.y"], []),
        (["/", "/x/a.txt"], ["/x/a.txt"]),
        (["gs://b", "gs://b/x"], ["gs://b/x"]),
        (["gs://b/in/*", "gs://c/in/x"], []),
    ],
)
def test_inputs_that_are_named_twice(texts: list[str], twice: list[str]) -> None:
    assert named_twice([parse_input(text, "/data") for text in texts]) == twice


def test_a_name_that_looks_like_a_pattern_is_taken_literally(folder: str) -> None:
    Path(folder, "in/[ab].txt").write_text("literal")
    assert shown(folder, "in/[ab].txt") == ["in/[ab].txt"]
    Path(folder, "in/s?b").mkdir()
    Path(folder, "in/s?b/x").write_text("literal")
    assert shown(folder, "in/s?b") == ["in/s?b/x"]


def test_links_that_lead_nowhere_are_left_out(folder: str) -> None:
    for name, target in (("loop.txt", "loop.txt"), ("gone.txt", "none"), ("odd.txt", "a.txt/b")):
        Path(folder, "in", name).symlink_to(target)
    assert shown(folder, "in/*.txt") == ["in/a.txt", "in/b.txt"]
    assert "in/sub/d.txt" in shown(folder, "in")


@pytest.mark.parametrize("text", ["in", "in/*", "in/**", "in/**/*.txt", "*/a.txt", "in/sub/"])
def test_hidden_folders_are_not_looked_into(folder: str, text: str) -> None:
    before = shown(folder, text)
    for name in ("in/.x", "in/_tmp", "in/sub/.git"):
        Path(folder, name).mkdir(exist_ok=True)
        # It cannot be followed, as a closed folder cannot be read; root may read every folder.
        Path(folder, name, "odd").symlink_to("x" * 300)
        Path(folder, f"{name}-odd").symlink_to("x" * 300)
    assert shown(folder, text) == before
    for spelt in ("in/.x", "in/*/.git/*", "in/_*"):
        with pytest.raises(InputError, match=r"cannot be read: .*odd cannot be used"):
            shown(folder, spelt)


def test_a_link_that_cannot_be_followed_is_named(folder: str) -> None:
    Path(folder, "in/sub/odd.txt").symlink_to("x" * 300)
    with pytest.raises(InputError, match=r"^The input in cannot be read: .*/in/sub/odd.txt cannot"):
        shown(folder, "in")


def test_the_output_is_no_input(folder: str) -> None:
    assert shown(folder, "in", skip_output=f"file://{folder}/in/sub") == [
        "in/a.txt",
        "in/b.txt",
        "in/c.csv",
        "in/sub2/f.txt",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "nope.txt",
            "The input nope.txt does not exist. Check its spelling and the current folder.",
        ),
        (
            "in/nope/",
            "The input in/nope/ does not exist. Check its spelling and the current folder.",
        ),
        (
            "in/a.txt/b",
            "The input in/a.txt/b does not exist. Check its spelling and the current folder.",
        ),
        ("in/*.gz", "No file matches in/*.gz. Check the pattern, and from which folder it counts."),
        ("nope/**", "No file matches nope/**. Check the pattern, and from which folder it counts."),
        ("/nope.txt", "The input /nope.txt does not exist. Check its spelling."),
        ("file:///nope*", "No file matches file:///nope*. Check the pattern."),
        ("empty", "The input empty is a folder without files. Name one that holds the data."),
        ("marks", "The input marks holds only names that begin with `_` or `.`. Name the files."),
        ("*/../in", "The input */../in has `..` behind a wildcard. Write it without `..`."),
    ],
)
def test_what_is_missing_is_named_as_typed(folder: str, text: str, message: str) -> None:
    Path(folder, "empty").mkdir()
    Path(folder, "marks").mkdir()
    Path(folder, "marks/_SUCCESS").write_text("")
    with pytest.raises(InputError) as caught:
        shown(folder, "in/a.txt", text)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["", "ftp://host/x"])
def test_what_is_no_input_at_all(folder: str, text: str) -> None:
    with pytest.raises(UsageError):
        shown(folder, text)


def test_a_file_without_permission_is_found_before_any_task(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests may run as root, who may read everything.
    monkeypatch.setattr(os, "access", lambda path, mode: not path.endswith("b.txt"))
    with pytest.raises(InputError, match=r"^The input in/b.txt cannot be read \(permission"):
        shown(folder, "in/*.txt")


class Bucket(MemoryStorage):
    """A store that may be listed, but not read."""

    def read(
        self, uri: str, start: int = 0, end: int | None = None, *, generation: str | None = None
    ) -> bytes:
        raise PermissionDeniedError(f"{uri} may not be read by robot@example.")


@pytest.fixture
def bucket() -> Iterator[MemoryStorage]:
    bucket = MemoryStorage()
    register("test", lambda: bucket)
    for name in ("x.txt", "in/a.txt", "in/b.txt", "in/", "in/_s", "in/2024-1/p", "in/2024-2/p"):
        bucket.put(f"test://b/{name}", b"12")
    yield bucket
    register("test", MemoryStorage)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("test://b/in", ["a.txt", "b.txt", "2024-1/p", "2024-2/p"]),
        ("test://b/in/", ["a.txt", "b.txt", "2024-1/p", "2024-2/p"]),
        ("test://b/in/*.txt", ["a.txt", "b.txt"]),
        ("test://b/in/2024-*", ["2024-1/p", "2024-2/p"]),
        ("test://b/in/2024-*/p", ["2024-1/p", "2024-2/p"]),
    ],
)
def test_prefixes_and_patterns_of_a_bucket(
    bucket: MemoryStorage, text: str, expected: list[str]
) -> None:
    assert sorted(shown("/", text)) == sorted(f"test://b/in/{name}" for name in expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("test://b/in", ["in//x.txt", "in//sub//y.txt", "in/a.txt"]),
        ("test://b/in/", ["in//x.txt", "in//sub//y.txt", "in/a.txt"]),
        ("test://b/in//", ["in//x.txt", "in//sub//y.txt"]),
        ("test://b/in//sub", ["in//sub//y.txt"]),
        ("test://b/in//*.txt", ["in//x.txt"]),
        ("test://b/in/*.txt", ["in/a.txt"]),
        ("test://b/in/**", ["in//x.txt", "in//sub//y.txt", "in/a.txt"]),
        ("test://b/**/*.txt", ["in//x.txt", "in//sub//y.txt", "in/a.txt"]),
        ("test://b/in/*", ["in//x.txt", "in//sub//y.txt", "in/a.txt"]),
        ("test://b/i*", ["in//x.txt", "in//sub//y.txt", "in/a.txt"]),
        ("test://b/i*/", ["in//x.txt", "in//sub//y.txt", "in/a.txt"]),
        ("test://b/in/*/x.txt", ["in//x.txt"]),
    ],
)
def test_names_with_empty_components(text: str, expected: list[str]) -> None:
    bucket = MemoryStorage()
    register("test", lambda: bucket)
    for name in ("in/a.txt", "in//x.txt", "in//sub//y.txt", "in//_no/z.txt", "in//.no"):
        bucket.put(f"test://b/{name}", b"12")
    try:
        assert sorted(shown("/", text)) == sorted(f"test://b/{name}" for name in expected)
    finally:
        register("test", MemoryStorage)


def test_only_the_prefix_as_typed_covers_an_output() -> None:
    assert covers(parse_input("gs://b/in//", "/"), "gs://b/in//out")
    assert not covers(parse_input("gs://b/in//", "/"), "gs://b/in/out")
    assert covers(parse_input("gs://b/**", "/"), "gs://b/in//out")


@pytest.mark.parametrize("text", ["test://b", "test://b/"])
def test_a_whole_bucket(bucket: MemoryStorage, text: str) -> None:
    assert "test://b/x.txt" in shown("/", text)
    assert len(shown("/", text)) == 5


def test_a_bucket_without_access_is_an_error_of_usage() -> None:
    bucket = Bucket()
    register("test", lambda: bucket)
    bucket.put("test://b/in/a.txt", b"12")
    with pytest.raises(InputError, match=r"^The input test://b/in/a.txt cannot be read: .*robot"):
        shown("/", "test://b/in/")
    register("test", MemoryStorage)


@pytest.mark.parametrize(
    ("text", "output", "expected"),
    [
        ("in", "in/out", True),
        ("in", "in", True),
        ("in", "out", False),
        ("in", "in2", False),
        ("in", "in/_out", False),
        ("in/*", "in/out", True),
        ("in/*.txt", "in/out", False),
        ("in/**/*.txt", "in/out", False),
        ("**", "out", True),
    ],
)
def test_whether_an_output_lies_inside_an_input(text: str, output: str, expected: bool) -> None:
    assert covers(parse_input(text, "/w"), f"file:///w/{output}") is expected


def test_a_name_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\xff.txt")).touch()
    with pytest.raises(
        InputError, match=r"'\.?/?a\\udcff\.txt' has a name that is not valid Unicode"
    ):
        shown(str(tmp_path), "*.txt")


def test_what_is_no_file_is_told_from_what_is_not_there(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to("gone")
    for name in ("pipe", "nowhere"):
        with pytest.raises(InputError, match=f"{name} is neither a file nor a folder. Copy"):
            shown(str(tmp_path), name)
    (tmp_path / "loop").symlink_to("loop")
    for name in ("loop", "n" * 300):
        with pytest.raises(
            InputError, match=f"^The input {name} cannot be read: /.* cannot be used"
        ):
            shown(str(tmp_path), name)
