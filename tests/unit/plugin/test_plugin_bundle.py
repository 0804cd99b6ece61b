"""Packing a plugin: what travels, what does not, and what is reported."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mrcore.errors import PluginError, UsageError
from mrcore.model.job import StepFlags
from mrcore.plugin import bundle as bundle_module
from mrcore.plugin.bundle import Bundle, build_bundle, build_bundle_from_functions
from mrcore.plugin.precheck import check_in_child

MAP = "def map(key, value):\n    yield value, 1\n"


def write(folder: Path, **sources: str) -> None:
    """Write files; a double underscore in a name is a slash."""
    for name, source in sources.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)


def members(bundle: Bundle) -> set[str]:
    """Return the names in the bundle."""
    return set(zipfile.ZipFile(io.BytesIO(bundle.data)).namelist())


def code(bundle: Bundle) -> set[str]:
    """Return the sources in the bundle."""
    return {name.removeprefix("code/") for name in members(bundle) if name.startswith("code/")}


def test_a_file_travels_with_what_it_imports(tmp_path: Path) -> None:
    write(
        tmp_path,
        wc="import util, json\ndef map(key, value):\n    import late\n    yield 1, 2\n",
        util="from helpers import clean\ntry:\n    import gone\nexcept ImportError:\n    pass\n",
        late="",
        helpers__init="",
        helpers__clean="import far\n",
        far="",
        stranger="",
        json="",
    )
    (tmp_path / "helpers/init.py").rename(tmp_path / "helpers/__init__.py")
    (tmp_path / "helpers/words.txt").write_text("the")
    (tmp_path / "helpers/__pycache__").mkdir()
    (tmp_path / "helpers/__pycache__/clean.pyc").write_bytes(b"")
    assert code(build_bundle("wc.py", [], tmp_path)) == {
        "wc.py", "util.py", "late.py", "helpers/__init__.py", "helpers/clean.py",
        "helpers/words.txt", "far.py",
    }  # fmt: skip


def test_modules_come_from_the_current_folder_and_pythonpath_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, jobs__wc="import here, there, space.mod\n" + MAP)
    write(tmp_path, here="", lib__there="", space__mod="", space__other="")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    bundle = build_bundle("jobs/wc.py", [], tmp_path)
    assert code(bundle) == {"wc.py", "here.py", "there.py", "space/mod.py"}


def test_a_dotted_module_travels_with_its_top_package(tmp_path: Path) -> None:
    write(tmp_path, pkg__jobs__wc=MAP, pkg__jobs__other="", pkg__x="")
    for folder in ("pkg", "pkg/jobs"):
        (tmp_path / folder / "__init__.py").touch()
    bundle = build_bundle("pkg.jobs.wc:job", [], tmp_path)
    assert code(bundle) == {
        "pkg/__init__.py", "pkg/jobs/__init__.py", "pkg/jobs/wc.py", "pkg/jobs/other.py",
        "pkg/x.py",
    }  # fmt: skip
    manifest = json.loads(zipfile.ZipFile(io.BytesIO(bundle.data)).read("manifest.json"))
    assert (manifest["module"], manifest["object"]) == ("pkg.jobs.wc", "job")


def test_equal_plugins_are_equal_bytes(tmp_path: Path) -> None:
    write(tmp_path, wc="import b, a\n" + MAP, a="", b="")
    first = build_bundle("wc.py", [], tmp_path)
    for name in ("b", "a", "wc"):
        (tmp_path / f"{name}.py").touch()
    assert build_bundle("wc.py", [], tmp_path) == first
    write(tmp_path, a="x = 1\n")
    assert build_bundle("wc.py", [], tmp_path).sha256 != first.sha256


@pytest.mark.parametrize("name", ["word-count.py", "json.py", "numpy.py", "1st.py"])
def test_any_file_name_works(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("import json\njson.dumps(1)\n" + MAP)
    bundle = build_bundle(name, [], tmp_path)
    assert check_in_child(bundle).name == name


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("gone.py", "The plugin gone.py does not exist. Give a Python file, or a module"),
        (".", "is not a plugin"),
        ("./", "The plugin ./ is a folder. Name the Python file that has map"),
        ("gone.mod", "The plugin module gone.mod does not exist: is PYTHONPATH right?"),
        ("", "'' is not a plugin"),
        ("word-count", "'word-count' is not a plugin"),
        ("wc:a-b", "'wc:a-b' is not a plugin. Name a file, a dotted module, or module:object"),
    ],
)
def test_targets_that_name_nothing(tmp_path: Path, target: str, sentence: str) -> None:
    with pytest.raises(PluginError) as caught:
        build_bundle(target, [], tmp_path)
    assert sentence in str(caught.value)


def test_side_files_are_checked(tmp_path: Path) -> None:
    write(tmp_path, wc=MAP)
    (tmp_path / "a").mkdir()
    for path in ("x.txt", "a/x.txt"):
        (tmp_path / path).write_text(path)
    assert "files/x.txt" in members(build_bundle("wc.py", ["a/x.txt"], tmp_path))
    for files, sentence in [
        (["x.txt", "a/x.txt"], "--files a/x.txt: two side files are called x.txt. Rename one."),
        (["gone"], "--files gone does not exist. Give the path of a file."),
        (["a"], "--files a is not a file. Give the path of a file."),
    ]:
        with pytest.raises(UsageError) as caught:
            build_bundle("wc.py", files, tmp_path)
        assert str(caught.value) == sentence


def test_what_is_too_large_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, wc=MAP)
    noise = (tmp_path / "noise").open("wb")
    with noise:
        noise.write(bytes((i * i * 31 + i) % 251 for i in range(5000)) * 700)
    monkeypatch.setattr(bundle_module, "MAX_BUNDLE_BYTES", 1 << 10)
    with pytest.raises(PluginError, match="Put large data into the bucket"):
        build_bundle("wc.py", ["noise"], tmp_path)
    monkeypatch.setattr(bundle_module, "MAX_UNPACKED_BYTES", 1 << 20)
    with pytest.raises(PluginError, match="Install large packages on the workers"):
        build_bundle("wc.py", ["noise"], tmp_path)


def test_the_check_tells_the_flags(tmp_path: Path) -> None:
    write(tmp_path, wc=MAP + "def reduce(k, v): return 1\ndef sort_key(v): return v\nprint('hi')\n")
    bundle = build_bundle("wc.py", [], tmp_path)
    plugin = check_in_child(bundle)
    assert (plugin.sha256, plugin.name) == (bundle.sha256, "wc.py")
    assert plugin.steps == (StepFlags(has_reduce=True, has_sort_key=True),)


def test_the_check_passes_errors_on(tmp_path: Path) -> None:
    write(tmp_path, wc="import gone\n" + MAP)
    with pytest.raises(PluginError) as caught:
        check_in_child(build_bundle("wc.py", [], tmp_path))
    assert str(caught.value) == (
        "wc.py cannot be imported: ModuleNotFoundError: No module named 'gone' "
        "(send a module of yours by --files, install others on every worker)\n"
        "Traceback (most recent call last):\n"
        f'  File "{tmp_path}/wc.py", line 1, in <module>\n'
        "    import gone\n"
        "ModuleNotFoundError: No module named 'gone'"
    )


def test_the_check_survives_a_plugin_that_hangs(tmp_path: Path) -> None:
    write(tmp_path, wc="import threading\nthreading.Event().wait()\n" + MAP)
    with pytest.raises(PluginError, match=r"still importing after 0\.5 s. Move slow work"):
        check_in_child(build_bundle("wc.py", [], tmp_path), timeout_seconds=0.5)


def test_the_check_survives_a_plugin_that_kills_its_process(tmp_path: Path) -> None:
    write(tmp_path, wc="import os\nprint('last words', flush=True)\nos._exit(9)\n" + MAP)
    with pytest.raises(PluginError) as caught:
        check_in_child(build_bundle("wc.py", [], tmp_path))
    text = str(caught.value)
    assert text.startswith("wc.py ended the process that imported it (exit status 9)")
    assert text.endswith("last words")


@pytest.mark.parametrize(
    "source", [MAP, "no python\n", "import os\nos._exit(9)\n", "while True: pass\n"]
)
def test_the_check_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    write(tmp_path, wc=source)
    with contextlib.suppress(PluginError):
        check_in_child(build_bundle("wc.py", [], tmp_path), timeout_seconds=2.0)
    assert list(tmp_path.glob("mrcore-check-*")) == []


def test_a_client_that_is_killed_leaves_neither_file_nor_process(tmp_path: Path) -> None:
    source = "import os, time\nprint(os.getpid(), file=open('here', 'w'))\ntime.sleep(60)\n"
    os.mkfifo(tmp_path / "here")
    write(tmp_path, wc=source + MAP)
    script = (
        "from pathlib import Path; from mrcore.plugin.bundle import build_bundle; "
        "from mrcore.plugin.precheck import check_in_child; "
        "check_in_child(build_bundle('wc.py', [], Path.cwd()))"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    child = os.pidfd_open(int((tmp_path / "here").read_text()))
    try:
        assert len(list(tmp_path.glob("mrcore-check-*"))) == 1
        client.kill()
        client.wait()
        assert select.select([child], [], [], 20)[0], "the child has ended"
    finally:
        os.close(child)
    assert list(tmp_path.glob("mrcore-check-*")) == []


def test_the_check_imports_nothing_heavy(tmp_path: Path) -> None:
    heavy = "('pyarrow', 'numpy', 'grpc', 'msgspec', 'google', 'cloudpickle')"
    write(tmp_path, wc=f"import sys\nassert not [m for m in {heavy} if m in sys.modules]\n" + MAP)
    assert check_in_child(build_bundle("wc.py", [], tmp_path)).name == "wc.py"


def test_functions_of_a_session_travel(tmp_path: Path) -> None:
    factor = 3
    bundle = build_bundle_from_functions(
        {"map": lambda k, v: [(v, factor)], "reduce": lambda k, vs: sum(vs), "combine": None},
        [], tmp_path, "session",
    )  # fmt: skip
    assert code(bundle) == set(), "this test module travels by value"
    plugin = check_in_child(bundle)
    assert (plugin.name, plugin.steps) == ("session", (StepFlags(has_reduce=True),))


SESSION = """
import sys
from pathlib import Path
from mrcore.plugin.bundle import build_bundle_from_functions
import helper
def map(key, value):
    return [(helper.double(value), 1)]
bundle = build_bundle_from_functions({"map": map}, [], Path.cwd(), "session")
sys.stdout.buffer.write(bundle.data)
"""
LOADER = """
import sys, tempfile
from pathlib import Path
from mrcore.plugin.loader import load_bundle
with tempfile.TemporaryDirectory() as folder:
    print(load_bundle(sys.stdin.buffer.read(), Path(folder)).steps[0]["map"](0, 21))
"""


def test_modules_that_a_session_uses_travel_as_sources(tmp_path: Path) -> None:
    write(tmp_path, session=SESSION, helper="def double(x):\n    return 2 * x\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run: Callable[..., subprocess.CompletedProcess[bytes]] = subprocess.run
    built = run([sys.executable, "session.py"], cwd=tmp_path, capture_output=True, check=True)
    loaded = run(
        [sys.executable, "-c", LOADER],
        cwd=elsewhere, input=built.stdout, capture_output=True, check=True,
    )  # fmt: skip
    assert loaded.stdout == b"[(42, 1)]\n"


NESTED = """
import dataclasses, enum, sys
from pathlib import Path
from mrcore.plugin.bundle import build_bundle_from_functions
class One:
    @dataclasses.dataclass
    class Item:
        x: int
    class State(enum.Enum):
        NEW = 1
class Two(One):
    @dataclasses.dataclass
    class Item:
        x: int
class Three:
    @dataclasses.dataclass
    class Item:
        x: int
@dataclasses.dataclass
class Item:
    x: int
def session(alone):
    def map(key, value):
        kinds = (alone, One.Item, Two.Item, Item)
        return [*((kind(value), 1) for kind in kinds), (One.State.NEW, 1)]
    return map
bundle = build_bundle_from_functions({"map": session(Three.Item)}, [], Path.cwd(), "session")
sys.stdout.buffer.write(bundle.data)
"""
PICKLER = """
import pickle, sys, tempfile
from pathlib import Path
from mrcore.plugin import by_value
from mrcore.plugin.loader import load_bundle
by_value.give_main_away()
with tempfile.TemporaryDirectory() as folder:
    pairs = load_bundle(sys.stdin.buffer.read(), Path(folder)).steps[0]["map"](0, 21)
for value, _ in pairs:
    same = pickle.loads(pickle.dumps(value))
    assert same == value and type(same) is type(value)
    print(same)
"""


def test_nested_classes_of_a_session_keep_their_names(tmp_path: Path) -> None:
    write(tmp_path, session=NESTED)
    run: Callable[..., subprocess.CompletedProcess[bytes]] = subprocess.run
    built = run([sys.executable, "session.py"], cwd=tmp_path, capture_output=True, check=True)
    loaded = run([sys.executable, "-c", PICKLER], input=built.stdout, capture_output=True)
    assert loaded.stdout.decode().splitlines() == [
        "Three.Item(x=21)", "One.Item(x=21)", "Two.Item(x=21)", "Item(x=21)", "State.NEW",
    ], loaded.stderr.decode()  # fmt: skip


def test_what_cannot_be_pickled_is_told(tmp_path: Path) -> None:
    stream = (tmp_path / "open.txt").open("w")
    named = r"since the variable stream in the closure of the lambda at .*setup\(context\)"
    with stream, pytest.raises(PluginError, match=named):
        build_bundle_from_functions({"map": lambda k, v: stream.write(v)}, [], tmp_path, "session")


def test_a_plugin_is_checked_in_a_process_of_one_thread(tmp_path: Path) -> None:
    # gevent patches the locks of Python, which fails while another thread runs.
    write(tmp_path, wc="import threading\nassert threading.active_count() == 1\n" + MAP)
    assert check_in_child(build_bundle("wc.py", [], tmp_path)).steps[0].has_reduce is False
