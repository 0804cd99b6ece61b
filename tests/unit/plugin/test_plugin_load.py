"""Unpacking, importing and checking a plugin."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import zipfile
from pathlib import Path

import pytest

from mrcore.errors import PluginError
from mrcore.plugin.bundle import build_bundle
from mrcore.plugin.loader import MAX_UNPACKED_BYTES, load_bundle, unpack_bundle
from mrcore.plugin.tracebacks import user_traceback
from tests.support.plugin_loading import MAP, clean_imports, load

__all__ = ["clean_imports"]


def test_all_functions_are_found(tmp_path: Path) -> None:
    functions = load(
        tmp_path,
        MAP
        + "def reduce(key, values): return sum(values)\n"
        + "combine = reduce\n"
        + "def partition(key, n): return 0\n"
        + "def setup(context): pass\n",
    )
    assert list(functions.steps[0]["map"](0, "a")) == [("a", 1)]
    assert functions.steps[0]["reduce"] is functions.steps[0]["combine"]
    assert functions.steps[0]["partition"] is not None
    assert functions.steps[0]["partition"]("k", 3) == 0
    assert functions.shared["setup"] is not None
    assert "sort_key" not in functions.steps[0]
    assert functions.name == "wc.py"
    assert functions.user_paths == (str(tmp_path / "wc.py"),)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("x = 1\n", "wc.py has no function map. Define map(key, value), which yields pairs"),
        (
            "def map(value):\n    yield value, 1\n",
            "map at wc.py:1 is declared as map(value) but is called with 2 arguments. "
            "Define it as map(key, value)",
        ),
        (
            MAP + "def reduce(values): return 1\n",
            "reduce at wc.py:3 is declared as reduce(values) but is called with 2 arguments. "
            "Define it as reduce(key, values)",
        ),
        (
            MAP + "def combine(a, b, c): return 1\n",
            "combine at wc.py:3 is declared as combine(a, b, c) but is called with 2 arguments. "
            "Define it as combine(key, values)",
        ),
        (
            MAP + "def partition(key): return 1\n",
            "partition at wc.py:3 is declared as partition(key) but is called with 2 arguments. "
            "Define it as partition(key, n)",
        ),
        (
            MAP + "def sort_key(a, b): return 1\n",
            "sort_key at wc.py:3 is declared as sort_key(a, b) but is called with 1 argument. "
            "Define it as sort_key(value)",
        ),
        (
            MAP + "def setup(): pass\n",
            "setup at wc.py:3 is declared as setup() but is called with 1 argument. "
            "Define it as setup(context)",
        ),
        (
            MAP + "reduce = 7\n",
            "reduce in wc.py is not a function but an int. Define reduce(key, values) or rename it",
        ),
        (
            MAP + "from functools import reduce\n",
            "reduce in wc.py is functools.reduce: define reduce(key, values), or import that one "
            "under another name",
        ),
        (
            "async def map(key, value): return []\n",
            "map at wc.py:1 is async. Define it by `def`, as map(key, value)",
        ),
        (
            MAP + "def combine(k, v): return 1\ndef sort_key(v): return v\n",
            "wc.py has both combine and sort_key at wc.py:4: a combiner cannot keep values in "
            "order, so remove one of them",
        ),
        (
            "import sys\nsys.exit(3)\n",
            "wc.py called sys.exit(3) when it was imported. Put what runs a script under "
            '`if __name__ == "__main__":`',
        ),
    ],
)
def test_a_plugin_that_cannot_work_gets_one_sentence(
    tmp_path: Path, source: str, sentence: str
) -> None:
    with pytest.raises(PluginError) as caught:
        load(tmp_path, source)
    assert str(caught.value) == f"{sentence}."


@pytest.mark.parametrize("source", ["def map(*args): yield args\n", "map = zip\n"])
def test_functions_that_take_anything_are_taken(tmp_path: Path, source: str) -> None:
    assert load(tmp_path, source).steps[0]["map"] is not None


def test_an_import_error_shows_the_users_frames_only(tmp_path: Path) -> None:
    with pytest.raises(PluginError) as caught:
        load(tmp_path, "import json\njson.loads('{')\n")
    text = str(caught.value)
    first, _, rest = text.partition("\n")
    assert first.startswith("wc.py cannot be imported: json.decoder.JSONDecodeError: ")
    assert f'File "{tmp_path}/wc.py", line 2, in <module>' in rest
    assert "json.loads('{')" in rest
    assert "/json/decoder.py" in rest
    assert "mrcore" not in rest
    assert "importlib" not in rest


def test_a_file_of_a_package_is_to_be_named_as_a_module(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"known parent package \(name a file in a package as a"):
        load(tmp_path, "from . import x\n")


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"cannot be imported: SyntaxError") as caught:
        load(tmp_path, "def map(key, value)\n    yield 1, 2\n")
    assert f'File "{tmp_path}/wc.py", line 1' in str(caught.value)


def test_tracebacks_read_as_at_home_where_the_source_is_gone(tmp_path: Path) -> None:
    (tmp_path / "deep.py").write_text("def fail():\n    raise KeyError('nope')\n")
    functions = load(tmp_path, "import deep\ndef map(key, value):\n    return deep.fail()\n")
    (tmp_path / "deep.py").unlink()
    (tmp_path / "wc.py").write_text("other content")
    with pytest.raises(KeyError) as caught:
        functions.steps[0]["map"](1, 2)
    text = user_traceback(caught.value)
    assert f'File "{tmp_path}/wc.py", line 3, in map\n    return deep.fail()' in text
    assert f"File \"{tmp_path}/deep.py\", line 2, in fail\n    raise KeyError('nope')" in text


def test_chained_errors_are_filtered_too(tmp_path: Path) -> None:
    try:
        try:
            unpack_bundle(b"no zip", tmp_path)
        except PluginError as error:
            raise ValueError("outer") from error
    except ValueError as error:
        text = user_traceback(error)
    assert "mrcore/plugin/loader.py" not in text
    assert "The plugin bundle is damaged" in text
    assert "ValueError: outer" in text


CLASS = (
    "class Job:\n"
    "    def map(self, key, value): yield value, self.one()\n"
    "    def one(self): return 1\n"
    "job = Job()\n"
    "class Needs:\n"
    "    def __init__(self, x): pass\n"
    "class Space:\n"
    "    inner = job\n"
    "def lonely(key, value): return []\n"
)


@pytest.mark.parametrize("target", ["wc.py:Job", "wc.py:job", "wc:Job", "wc.py:Space.inner"])
def test_an_object_may_hold_the_functions(tmp_path: Path, target: str) -> None:
    functions = load(tmp_path, CLASS, target)
    assert list(functions.steps[0]["map"](0, "a")) == [("a", 1)]
    assert functions.name == target


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("wc.py:Jub", "wc has no Jub. Name an object of the module, as in wc:Job"),
        ("wc.py:lonely", "wc.py:lonely is a function. Name a class or an object that has map"),
        ("wc.py:Needs", "wc.py:Needs cannot be made without arguments: TypeError: "),
    ],
)
def test_an_object_that_cannot_hold_them(tmp_path: Path, target: str, sentence: str) -> None:
    with pytest.raises(PluginError) as caught:
        load(tmp_path, CLASS, target)
    assert str(caught.value).startswith(sentence)


def test_users_modules_may_have_the_names_of_our_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("worker", "master", "util"):
        # A child has never imported ours; another test of this process may have.
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(f"me = 'the {name} of the user'\n")
    functions = load(
        tmp_path,
        "import worker, master, util\ndef map(key, value): yield worker.me, (master.me, util.me)\n",
    )
    assert list(functions.steps[0]["map"](0, 0)) == [
        ("the worker of the user", ("the master of the user", "the util of the user"))
    ]


def test_data_beside_the_plugin_is_found_at_home(tmp_path: Path) -> None:
    (tmp_path / "stop.txt").write_text("the")
    functions = load(
        tmp_path,
        "from pathlib import Path\n"
        "def map(key, value): yield Path(__file__).with_name('stop.txt').read_text(), 1\n",
    )
    assert list(functions.steps[0]["map"](0, 0)) == [("the", 1)]


def test_side_files_and_the_second_load(tmp_path: Path) -> None:
    (tmp_path / "stop.txt").write_text("the")
    (tmp_path / "wc.py").write_text(MAP)
    bundle = build_bundle("wc.py", ["stop.txt"], tmp_path)
    first = load_bundle(bundle.data, tmp_path / "scratch")
    assert first.files_folder == tmp_path / "scratch" / bundle.sha256 / "files"
    assert (first.files_folder / "stop.txt").read_text() == "the"
    again = load_bundle(bundle.data, tmp_path / "scratch")
    assert again.files_folder == first.files_folder
    assert [p.name for p in (tmp_path / "scratch").iterdir()] == [bundle.sha256]


def zipped(members: dict[str, bytes]) -> bytes:
    """Return a zip with these members, whatever their names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/evil",
        "code/../../evil",
        "code\\evil",
        "evil",
        "code//evil",
        "code/",
        "code",
    ],
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    data = zipped({"manifest.json": b"{}", name: b"x"})
    with pytest.raises(PluginError, match="not allowed"):
        unpack_bundle(data, tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    data = zipped({"code/zeros": bytes(MAX_UNPACKED_BYTES + 1)})
    assert len(data) < 2 << 20
    with pytest.raises(PluginError, match="unpacks to more than 512 MiB"):
        unpack_bundle(data, tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_damaged_bundle_is_refused(tmp_path: Path) -> None:
    whole = zipped({"manifest.json": json.dumps({"x": list(range(1000))}).encode()})
    for data in (b"", whole[:50], whole[:60] + b"\0\0\0\0" + whole[64:]):
        with pytest.raises(PluginError, match=r"damaged .*. Submit the job again"):
            unpack_bundle(data, tmp_path / "scratch")


def test_the_folder_is_named_by_the_digest(tmp_path: Path) -> None:
    data = zipped({"manifest.json": b"{}"})
    folder = unpack_bundle(data, tmp_path / "scratch")
    assert folder.name == hashlib.sha256(data).hexdigest()
    assert os.listdir(folder) == ["manifest.json"]  # noqa: PTH208 - names are what is compared


def test_an_object_whose_functions_cannot_be_looked_up_is_told(tmp_path: Path) -> None:
    source = (
        "class Job:\n    @property\n    def map(self): raise LookupError('no model')\njob = Job()\n"
    )
    with pytest.raises(PluginError, match=r"looked up: LookupError: no model\n") as caught:
        load(tmp_path, source, "wc.py:job")
    assert f'File "{tmp_path}/wc.py", line 3, in map' in str(caught.value)


def test_a_default_without_text_does_not_hide_the_arity(tmp_path: Path) -> None:
    source = "class Mute:\n    def __repr__(self): return None\ndef map(a, b, c, d=Mute()): pass\n"
    with pytest.raises(PluginError, match="is declared as map<Signature without text: TypeError>"):
        load(tmp_path, source)


@pytest.mark.parametrize("lost", ["manifest.json", "code/wc.py"])
def test_a_bundle_of_which_a_file_was_swept_away_is_unpacked_anew(
    tmp_path: Path, lost: str
) -> None:
    (tmp_path / "wc.py").write_text("def map(key, value):\n    yield value, 1\n")
    data = build_bundle("wc.py", [], tmp_path).data
    folder = unpack_bundle(data, tmp_path / "scratch")
    (folder / lost).unlink()
    (tmp_path / "wc.py").unlink()
    assert list(load_bundle(data, tmp_path / "scratch").steps[0]["map"]("k", "v")) == [("v", 1)]
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("Step(mapp=len)", "A Step has no function mapp. Give it some of map, "),
        ("Step(len)", "A Step takes its functions by name. Write Step(map=..., reduce=...)."),
    ],
)
def test_a_step_that_is_made_wrongly_is_one_sentence(
    call: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(PluginError) as caught:
        load(tmp_path, f"from mrcore import Step\nsteps = [{call}]\n")
    assert str(caught.value).startswith(f"wc.py, line 2: {sentence}")
    assert "\n" not in str(caught.value)
