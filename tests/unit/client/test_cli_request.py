"""From what a person asks for to a JobSpec, by the API's words."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mrcore
from mrcore.cli.main import run_command_line
from mrcore.client.arguments import JobOptions, make_request
from mrcore.client.request import (
    Functions,
    before_tasks,
    load_plugin,
    local_places,
    prepare,
)
from mrcore.client.versions import versions
from mrcore.engine.api import submit
from mrcore.errors import (
    ClusterUnreachableError,
    InputError,
    OutputError,
    PluginError,
    UnavailableError,
    UsageError,
)
from mrcore.model.job import Compression, Input, Plugin, StepFlags
from mrcore.rpc.cluster import Credentials
from mrcore.storage.local import places


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a plugin and an input."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wc.py").write_text("def map(key, value):\n    yield value, 1\n")
    (tmp_path / "in.txt").write_text("a\n")
    return tmp_path


def test_every_option_of_the_api(here: Path) -> None:
    options: JobOptions = {
        "files": [here / "in.txt"],
        "reduces": 3,
        "input_format": "blocks",
        "output_format": "csv",
        "compress": "gz",
        "no_combine": True,
        "total_order": True,
        "params": {"a": "b"},
        "max_attempts": 2,
        "task_timeout": "1m",
        "lease": 3,
        "max_bad_records": 1,
        "memory": "1GiB",
        "temp": Path("tmp"),
        "overwrite": True,
        "priority": 5,
        "after": ["wc-1", SimpleNamespace(job_id="wc-2"), "wc-1"],
    }
    spec = prepare(make_request(Path("wc.py"), Path("in.txt"), "out/", **options)).job
    assert spec.name == "wc"
    assert spec.inputs == (
        Input(uri=f"file://{here}/in.txt", base_uri=f"file://{here}/in.txt", base_given="in.txt"),
    )
    assert spec.output_uri == f"file://{here}/out"
    assert spec.input_format == "blocks"
    assert spec.output_format == "csv"
    assert spec.compression is Compression.GZIP
    assert (spec.reduces, spec.combine, spec.total_order) == (3, False, True)
    assert (spec.params, spec.max_attempts, spec.priority) == ({"a": "b"}, 2, 5)
    assert (spec.task_timeout_seconds, spec.lease_seconds) == (60.0, 3.0)
    assert (spec.max_bad_records, spec.memory_bytes) == (1, 1 << 30)
    assert spec.after == ("wc-1", "wc-2")
    assert (spec.temp_uri, spec.overwrite) == (f"file://{here}/tmp", True)
    assert spec.versions == versions()


def test_an_output_that_somebody_has_locked_is_a_sentence(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_PROBE_SECONDS", 0.05)
    asked = make_request("wc.py", "in.txt", "out")
    (here / "out").mkdir()
    holder = os.open(here / "out", os.O_RDONLY)  # as `flock out mrcore run … -o out`
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(OutputError, match=r"-o \S+/out is locked by another program"):
        prepare(asked)
    os.close(holder)
    prepare(asked)


def test_functions_are_a_plugin() -> None:
    request = make_request(None, ["in.txt"], "out", map=print, reduce=sum, name="mine")
    assert request.plugin == Functions(given={"map": print, "reduce": sum}, name="mine")


@pytest.mark.parametrize(
    ("plugin", "name"),
    [("wc.py", "wc"), ("./wc.py:Job", "wc-Job"), ("wc", "wc"), ("wc:map", "wc-map")],
)
def test_jobs_are_named_after_their_plugin(plugin: str, name: str) -> None:
    assert prepare(make_request(plugin, "in.txt", "out")).job.name == name


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"map_only": True, "total_order": True}, "so --total-order cannot hold"),
        ({"lease": "100ms"}, "--lease is 0.1 s, but must be at least 0.5 s"),
        ({"max_attempts": 0}, "--max-attempts is 0, but must be at least 1"),
        ({"reduces": -1}, "-r is -1, but must be at least 0"),
        ({"task_timeout": 0}, "--task-timeout is 0 s, but must be more than 0 s"),
    ],
)
def test_options_that_cannot_hold_are_refused(options: JobOptions, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        prepare(make_request("wc.py", "in.txt", "out", **options))


def test_a_map_only_job_has_reduces_between_its_steps_at_most() -> None:
    draft = prepare(make_request("wc.py", "in.txt", "out", map_only=True, reduces=4))
    with pytest.raises(UsageError, match=r"so -r has no meaning\. Drop one"):
        draft.with_plugin(Plugin("0" * 64, "wc", (StepFlags(), StepFlags())))
    steps = (StepFlags(has_reduce=True), StepFlags())
    assert draft.with_plugin(Plugin("0" * 64, "wc", steps)).spec.reduces == 4


def test_what_files_show_is_refused_and_nothing_is_made(here: Path) -> None:
    before = sorted(here.iterdir())
    with pytest.raises(InputError, match="none does not exist"):
        prepare(make_request("wc.py", "none", "out"))
    with pytest.raises(OutputError, match="current folder"):
        prepare(make_request("wc.py", "in.txt", "."))
    with pytest.raises(UsageError, match="no scheme that is known here"):
        prepare(make_request("wc.py", "s3://bucket/in", "out"))
    with pytest.raises(UsageError, match="'soon' is not a duration"):
        make_request("wc.py", "in.txt", "out", lease="soon")
    assert sorted(here.iterdir()) == before


def test_folders_that_cannot_be_made_are_refused(here: Path) -> None:
    with pytest.raises(OutputError, match=r"-o .* cannot be a folder: .*wc\.py is not a folder"):
        prepare(make_request("wc.py", "in.txt", "wc.py/deep/out"))
    with pytest.raises(
        OutputError, match=r"--temp .* cannot be a folder: .*wc\.py is not a folder"
    ):
        prepare(make_request("wc.py", "in.txt", "out", temp="wc.py/t"))
    assert not (here / "out").exists()


def test_folders_that_cannot_be_written_are_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OutputError, match=r"-o /proc/out cannot be used, as nothing"):
        prepare(make_request("wc.py", "in.txt", "/proc/out"))

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(OutputError, match=r"--temp .* \(permission denied\)"):
        prepare(make_request("wc.py", "in.txt", "gs://b/out", temp="t"))


def test_folders_that_cannot_be_looked_into_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stat = os.stat

    def closed(path: str, *arguments: Any, **options: Any) -> os.stat_result:
        if str(path).startswith("/closed/"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return stat("/" if str(path) == "/closed" else path, *arguments, **options)

    monkeypatch.setattr(os, "stat", closed)
    monkeypatch.setattr(os, "lstat", closed)
    with pytest.raises(UsageError, match=r"^/closed/out cannot be used \(permission denied\)"):
        prepare(make_request("wc.py", "in.txt", "/closed/out"))


@pytest.mark.parametrize(("plugin", "file"), [("closed.py", "in.txt"), ("wc.py", "closed.py")])
def test_code_that_may_not_be_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, plugin: str, file: str
) -> None:
    is_file = Path.is_file

    def look(path: Path) -> bool:
        if path.name == "closed.py":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", look)
    with pytest.raises(
        UsageError, match=r"/closed\.py cannot be read \(permission denied\)\. Check"
    ):
        prepare(make_request(plugin, "in.txt", "out", files=[file]))


def test_what_a_store_refuses_before_any_task_is_bad_input(here: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be used \(file name too long\)"):
        prepare(make_request("wc.py", "in.txt", "n" * 300))
    with pytest.raises(UnavailableError), before_tasks():
        raise UnavailableError("try again later")


def test_temporaries_inside_an_input_are_refused(here: Path) -> None:
    (here / "in").mkdir()
    (here / "in/a.txt").touch()
    with pytest.raises(OutputError, match=r"--temp .*/in/t lies inside the input in/: a later job"):
        prepare(make_request("wc.py", "in/", "out", temp="in/t"))
    assert prepare(make_request("wc.py", "in/", "out", temp="in/_t"))


def test_looking_whether_a_folder_can_be_written_leaves_nothing(here: Path) -> None:
    before = sorted(here.iterdir())
    prepare(make_request("wc.py", "in.txt", "out", temp="deep/temp"))
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    ("inputs", "output", "temp"),
    [("mem://a/b", "out", None), ("in.txt", "mem://a/b", None), ("in.txt", "out", "mem://a")],
)
@pytest.mark.parametrize("look", [False, True])
def test_memory_is_shared_by_no_cluster(
    inputs: str, output: str, temp: str | None, look: bool
) -> None:
    options: JobOptions = {} if temp is None else {"temp": temp}
    request = make_request("wc.py", inputs, output, **options)
    with pytest.raises(UsageError, match="the master and the workers do not share"):
        prepare(request, look=look)
    assert prepare(request, look=False, alone=True).job.output_uri.endswith(output)


def test_values_of_the_api_may_be_as_python_has_them() -> None:
    options: JobOptions = {"reduces": "auto", "params": {"n": 3}, "files": "in.txt"}
    request = make_request("wc.py", "in.txt", "out", **options)
    assert request.options == {"reduces": 0, "params": {"n": "3"}, "files": ("in.txt",)}
    assert prepare(request).job.reduces == 0


@pytest.mark.parametrize("name", ["reduces", "max_attempts", "max_bad_records", "priority"])
@pytest.mark.parametrize("value", ["3", 2.5, True, None])
def test_numbers_of_the_api_are_whole(name: str, value: Any) -> None:
    options: Any = {name: value}
    with pytest.raises(mrcore.UsageError, match=f"{name} is {value!r}, but has to be a whole"):
        make_request("wc.py", "in.txt", "out", **options)


@pytest.mark.parametrize(
    ("inputs", "output", "said"),
    [
        ("a\nb", "out", r"a\\nb' has a control character in its name. Rename it"),
        ("in.txt", "a\tb", r"a\\tb' has a control character in its name"),
        ("in.txt", "a\udcffb", r"a\\udcffb' has a character that is not Unicode in its name"),
    ],
)
def test_names_that_no_job_can_carry_are_refused(inputs: str, output: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        prepare(make_request("wc.py", inputs, output))


@pytest.mark.parametrize(("inputs", "output"), [("gs://", "out"), ("in.txt", "gs:///out")])
def test_a_bucket_has_a_name(inputs: str, output: str) -> None:
    with pytest.raises(UsageError, match=r"does not name a bucket. Write gs://BUCKET/FOLDER\."):
        prepare(make_request("wc.py", inputs, output))


def test_a_remote_cluster_looks_for_itself() -> None:
    draft = prepare(make_request("wc.py", "gs://b/in", "gs://b/out"), look=False)
    assert local_places(draft.job) == []
    draft = prepare(make_request("wc.py", "none", "gs://b/out"), look=False)
    assert len(local_places(draft.job)) == 1


@pytest.mark.parametrize(
    ("address", "source", "told"),
    [
        ("far.example:7350", "none", True),
        ("127.0.0.1:7350", "none", False),
        ("far:1", "gs://b/i", False),
    ],
)
def test_a_local_path_is_told_of_where_machines_are_elsewhere(
    address: str, source: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreachable:
        def __init__(self, credentials: Credentials) -> None:
            raise ClusterUnreachableError(credentials.address)

    monkeypatch.setattr("mrcore.client.client.MasterClient", Unreachable)
    plugin = Plugin("0" * 64, "wc")
    monkeypatch.setattr("mrcore.engine.api.load_plugin", lambda draft: draft.with_plugin(plugin))
    notes: list[str] = []
    with pytest.raises(ClusterUnreachableError):
        submit(
            make_request("wc.py", source, "gs://b/out"),
            Credentials(address=address, token=""),
            note=notes.append,
        )
    assert [("is a local path: the machines of the cluster" in note) for note in notes] == [
        True
    ] * told


def test_a_partition_of_ones_own_excludes_a_total_order(here: Path) -> None:
    with (here / "wc.py").open("a") as plugin:
        plugin.write("def partition(key, n):\n    return 0\n")
    assert load_plugin(prepare(make_request(Path("wc.py"), Path("in.txt"), "out"))).spec
    ordered = prepare(make_request(Path("wc.py"), Path("in.txt"), "out", total_order=True))
    with pytest.raises(PluginError, match="Leave out one of the two"):
        load_plugin(ordered)


def test_inputs_that_are_named_twice_are_noted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "wc.py", "in.txt", "*.txt", "in.txt", "-o", "out", "--engine", "inline"]
    assert run_command_line(arguments) == 0
    assert (here / "out/part-00000").read_text() == "a\t1\n" * 3
    assert "the input in.txt (and 1 more) is named more than once" in capsys.readouterr().err


class Job:
    """A class that somebody passes in place of functions."""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"plugin": Job()}, r"plugin is <.*Job object at 0x.*>, but has to be a path, a module or"),
        ({"inputs": [1, 2]}, r"inputs\[0\] is 1, but has to be a path or URI\."),
        ({"inputs": 7}, r"inputs is 7, but has to be a path or URI, or a list of them\."),
        ({"inputs": b"in.txt"}, r"inputs is b'in\.txt', but has to be"),
        ({"output": None}, r"output is None, but has to be a path or URI\."),
        ({"files": 3}, r"files is 3, but has to be"),
        ({"after": 7}, r"after is 7, but has to be a job id or a Result, or a list of them\."),
        ({"after": {}}, r"after is {}, but has to be a job id or a Result"),
        ({"after": {"a": "b"}}, r"after is {'a': 'b'}, but has to be a job id or a Result"),
        ({"after": ["a", b"b"]}, r"after is b'b', but has to be a job id or a Result"),
        ({"temp": 3}, r"temp is 3, but has to be"),
        ({"map_only": "yes"}, r"map_only is 'yes', but has to be True or False\."),
        ({"params": ["a"]}, r"params is \['a'\], but has to be a dict of texts\."),
        ({"lease": None}, r"lease is None, but has to be a number of seconds, or a text"),
        ({"task_timeout": float("nan")}, r"task_timeout is nan, but has to be"),
        ({"memory": [1]}, r"memory is \[1\], but has to be a number of bytes, or a text"),
        (
            {"output_format": 5},
            r"output_format is 5, but has to be one of text, jsonl, csv, tsv, parquet\.",
        ),
        ({"plugin": None, "map": 3}, r"map is 3, but has to be a function\."),
        ({"plugin": None, "map": print, "reduce": "sum"}, r"reduce is 'sum', but has to be"),
        ({"plugin": None, "map": print, "name": 3}, r"name is 3, but has to be a text\."),
        ({"workers": "two"}, r"workers is 'two', but has to be a whole number\."),
        ({"slots": 1.5}, r"slots is 1\.5, but has to be a whole number\."),
        ({"engine": 5}, r"5 is not an engine"),
        ({"master": 7350}, r'master is 7350, but has to be an address, as "HOST:PORT"\.'),
        ({"state": 1}, r"state is 1, but has to be a path or URI\."),
        ({"credentials": 1}, r"credentials is 1, but has to be a file\."),
    ],
)
def test_values_of_a_wrong_type_are_told_in_a_sentence(
    arguments: dict[str, Any], said: str
) -> None:
    given: dict[str, Any] = {"plugin": "wc.py", "inputs": "in.txt", "output": "out", **arguments}
    with pytest.raises(UsageError, match=f"^{said}"):
        mrcore.run(given.pop("plugin"), **given)
