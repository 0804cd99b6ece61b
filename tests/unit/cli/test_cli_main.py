"""The command line without any daemon: help, parsing, sentences and exit codes."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mrcore.cli import base, job_options
from mrcore.cli.main import COMMANDS, cli, run_command_line
from mrcore.client.request import JobRequest
from mrcore.engine import history
from mrcore.model.job import Compression, JobState
from mrcore.model.snapshots import JobView
from tests.support.fake_clock import FakeClock


@pytest.fixture
def unused_port() -> int:
    """Return a port of loopback at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


GOLDEN = Path(__file__).parent / "golden"
PASSED_THROUGH = {"master", "worker"}
"""Their help is that of the daemons."""


@pytest.mark.parametrize(
    "name", ["mrcore", "gce-up", *(c for c in COMMANDS if c not in PASSED_THROUGH)]
)
def test_help_is_as_recorded(name: str) -> None:
    """Set MRCORE_REWRITE_GOLDEN=1 to record a wanted change."""
    arguments = ["--help"] if name == "mrcore" else [*name.split("-"), "--help"]
    result = CliRunner().invoke(cli, arguments, prog_name="mrcore", terminal_width=100)
    assert result.exit_code == 0
    golden = GOLDEN / f"help-{name}.txt"
    if os.environ.get("MRCORE_REWRITE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(result.output, encoding="utf-8")
    assert result.output == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_is_there(name: str) -> None:
    command = importlib.import_module(f"mrcore.cli.{name}").command
    assert isinstance(command, click.Command)
    assert command.help


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from mrcore.cli.main import run_command_line; run_command_line(['--help']);"
        "print(sorted({'grpc', 'pyarrow', 'numpy', 'rich', 'google.cloud'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert found.stdout.splitlines()[-1] == "[]"


INTERRUPT = "os.kill(os.getpid(), signal.SIGINT)"


INTERRUPT_AT_IMPORT = f"""
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]: {INTERRUPT}
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("daemon", ["master", "worker"])
def test_an_interrupt_while_a_daemon_is_imported_is_quiet(daemon: str) -> None:
    module = f"mrcore.{daemon}"
    code = f"{INTERRUPT_AT_IMPORT}\nimport runpy\nrunpy.run_module({module!r}, run_name='__main__')"
    command = [sys.executable, "-c", code, f"{module}.main"]
    ended = subprocess.run(command, capture_output=True, check=False, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


def run_entry(before: str) -> subprocess.CompletedProcess[str]:
    """Run `mrcore --version` by its entry, after some code."""
    code = f"import atexit, os, signal, sys\n{before}\nfrom mrcore.__main__ import main\nmain()\n"
    command = [sys.executable, "-c", code, "--version"]
    return subprocess.run(command, capture_output=True, check=False, text=True)


def test_an_interrupt_while_the_command_line_is_imported_is_quiet() -> None:
    ended = run_entry(f"sys.argv[1] = 'click'\n{INTERRUPT_AT_IMPORT}")
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_an_interrupt_after_the_end_changes_nothing() -> None:
    ended = run_entry(f"atexit.register(lambda: {INTERRUPT})")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("mrcore, version")


def test_an_ignored_interrupt_stays_ignored() -> None:
    ended = run_entry(
        f"signal.signal(signal.SIGINT, signal.SIG_IGN)\natexit.register(lambda: {INTERRUPT})\n"
        f"sys.addaudithook(lambda event, given: {INTERRUPT} if given[:1] == ('click',) else None)"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("mrcore, version")


def test_without_a_command_there_is_help() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "mrcore"], capture_output=True, check=False, text=True
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "\n  run         Run a job and wait for it" in ended.stderr


def request_for(*arguments: str) -> JobRequest:
    """Return what `mrcore run ARGUMENTS` would ask for."""
    taken: list[JobRequest] = []

    @base.command()
    @job_options.job_options
    def command(**options: Any) -> None:
        taken.append(job_options.take_request(options))

    result = CliRunner().invoke(command, list(arguments))
    assert result.exit_code == 0, result.output
    return taken[0]


def test_defaults_of_a_job() -> None:
    request = request_for("wc.py", "in.txt", "-o", "out")
    assert request == JobRequest(plugin="wc.py", inputs=("in.txt",), output="out", cwd=Path.cwd())


def test_every_option_reaches_the_request() -> None:
    request = request_for(
        *("pkg.mod:Job", "a", "b/*.txt", "-o", "gs://b/out", "-r", "7", "--input-format", "blocks"),
        *("--output-format", "jsonl", "--compress", "zst", "--no-combine", "--total-order"),
        *("--param", "a=1", "--param", "b=x=y", "--files", "f", "--files", "g"),
        *("--max-attempts", "2", "--task-timeout", "30s", "--lease", "2s"),
        *("--max-bad-records", "5", "--memory", "256MiB", "--temp", "gs://t/x", "--overwrite"),
        *("--priority", "-3", "--after", "wc-1", "--after", "wc-2", "--after", "wc-1"),
    )
    assert request == JobRequest(
        plugin="pkg.mod:Job",
        inputs=("a", "b/*.txt"),
        output="gs://b/out",
        cwd=Path.cwd(),
        options={
            "files": ("f", "g"),
            "reduces": 7,
            "input_format": "blocks",
            "output_format": "jsonl",
            "compress": Compression.ZSTD,
            "no_combine": False,
            "total_order": True,
            "params": {"a": "1", "b": "x=y"},
            "max_attempts": 2,
            "task_timeout": 30.0,
            "lease": 2.0,
            "max_bad_records": 5,
            "memory": 256 << 20,
            "temp": "gs://t/x",
            "overwrite": True,
            "priority": -3,
            "after": ("wc-1", "wc-2"),
        },
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "wc.py"], "Missing argument 'INPUT...'"),
        (["run", "wc.py", "in"], "Missing option '-o'"),
        (["run", "wc.py", "in", "-o", "out", "-r", "many"], "neither `auto` nor a number"),
        (["run", "wc.py", "in", "-o", "out", "-r", "-1"], "neither `auto` nor a number"),
        (["run", "wc.py", "in", "-o", "out", "-w", "0"], "0 is not in the range"),
        (["run", "wc.py", "in", "-o", "out", "--memory", "much"], "'much' is not a size"),
        (["run", "wc.py", "in", "-o", "out", "--memory", "1k"], "needs at least 128MiB"),
        (["run", "wc.py", "in", "-o", "out", "--lease", "1ms"], "--lease is 0.001 s, but must be"),
        (["run", "wc.py", "in", "-o", "out", "--task-timeout", "0s"], "--task-timeout is 0 s"),
        (["run", "wc.py", "in", "-o", "out", "--param", "k"], "'k' is not of the form KEY=VALUE"),
        (["run", "wc.py", "in", "-o", "out", "--input-format", "xml"], "'xml' is not one of"),
        (["run", "wc.py", "in", "-o", ""], "A job needs an output folder"),
        (["run", "wc.py", "in", "-o", "o", "--map-only", "--total-order"], "Drop one of them"),
        (
            ["run", "wc.py", "in", "-o", "o", "--after", "wc-1"],
            "--after names jobs of a cluster, and the embedded engine has none. Name a cluster",
        ),
        (
            ["run", "wc.py", "in", "-o", "o", "--after", "wc-1", "--engine", "inline"],
            "--after names jobs of a cluster, and the inline engine has none.",
        ),
        (["run", "wc.py", "in", "-o", "o", "--pdb"], "--pdb needs --engine inline"),
        (
            ["run", "wc.py", "in", "-o", "o", "--engine", "inline", "--master", "h:1"],
            "--engine inline runs in this process. Remove --master",
        ),
        (["logs", "some-job", "--task", "nap-3"], "'nap-3' is not a task"),
        (["logs", "some-job", "--attempt", "1.2"], "--attempt needs --task"),
        (["logs", "some-job", "--task", "map-3", "--attempt", "x"], "'x' is not an attempt"),
        (["show", "some-job"], "The job some-job is not an embedded run on this machine"),
        (["cancel", "some-job"], "The job some-job is not an embedded run on this machine"),
        (["workers"], "Which cluster? Give --master HOST:PORT or --state URI"),
        (["workers", "--master", "nowhere:x"], "is not an address"),
        (["cat", "nothing-here"], "no job has finished there"),
        (["verify", "nothing-here"], "no job has finished there"),
        (["cat", "/"], "/ is a whole file system"),
        (["gc", "gs://"], "gs:// does not name a bucket"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
        (["completion"], "Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish; see"),
        (["rum"], "No such command 'rum'"),
        (["run", "--nope"], "No such option '--nope'"),
    ],
)
def test_bad_usage_is_one_sentence_and_exit_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert run_command_line(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("mrcore: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err
    assert list(tmp_path.iterdir()) == []


def test_unreachable_master_is_exit_3(
    unused_port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrcore.engine.api.CONNECT_SECONDS", 0.2)
    assert run_command_line(["jobs", "--master", f"127.0.0.1:{unused_port}"]) == 3
    assert f"No master answers at 127.0.0.1:{unused_port}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["master", "worker"])
def test_daemons_call_themselves_what_was_typed(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = importlib.import_module(f"{name}.main")
    with contextlib.suppress(SystemExit):
        daemon.main(["--help"])
    assert capsys.readouterr().out.startswith(f"usage: mrcore {name} ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["master", "--bogus"], "unrecognized arguments: --bogus"),
        (["master", "--log-level", "loud"], "argument --log-level: invalid choice: 'loud'"),
        (["worker"], "no cluster is named; add --master HOST:PORT, --state URI or --credentials F"),
        (["worker", "--slots", "0"], "argument --slots: '0' is neither auto nor a number from 1"),
    ],
)
def test_daemons_refuse_a_wrong_option_in_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = arguments
    code: object = None
    try:
        code = importlib.import_module(f"{name}.main").main(options)
    except SystemExit as leave:
        code = leave.code
    told = capsys.readouterr().err
    assert code == 2
    assert told.startswith(f"mrcore {name}: {sentence}")
    assert told.endswith(f"; see `mrcore {name} --help`.\n")
    assert told.count("\n") == 1


def test_completion_scripts_name_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert run_command_line(["completion", shell]) == 0
        assert "_MRCORE_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("mrcore run --total", ["plain,--total-order"]),
        ("mrcore run w", ["file,w"]),
        ("mrcore run wc.py in/", ["file,in/"]),
        ("mrcore run wc.py in -o ou", ["dir,ou"]),
        ("mrcore run wc.py in --files f", ["file,f"]),
        ("mrcore run --input-format js", ["plain,jsonl"]),
        ("mrcore cat o", ["dir,o"]),
        ("mrcore show wc-1", ["plain,wc-12", "plain,wc-11"]),
        ("mrcore logs wc-2", ["plain,wc-21"]),
    ],
)
def test_a_shell_completes(
    words: str,
    offered: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for number, job_id in enumerate(["wc-11", "wc-12", "wc-21"]):
        folder = history.RunFolder.create(FakeClock(1000.0 * (number + 1)))
        folder.record(
            JobView(job_id=job_id, name="wc", state=JobState.SUCCEEDED, output_uri="file:///out")
        )
        folder.close()
    monkeypatch.setenv("_MRCORE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    with pytest.raises(SystemExit):
        run_command_line([])
    assert capsys.readouterr().out.splitlines() == offered


@pytest.mark.parametrize("wrong", [["-r", "x"], ["--bogus"], ["--pdb", "-o", "out"], []])
def test_options_that_cannot_be_read_give_json_too(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["run", "wc.py", "in", *wrong, "--json"]) == 2
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert (found["job_id"], found["state"]) == (None, "failed")
    assert told.err == f"mrcore: {found['error']['message']}\n"


def test_a_current_folder_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    for arguments in (["run", "wc.py", "in", "-o", "out"], ["cat", "out"]):
        assert run_command_line(arguments) == 2
        assert capsys.readouterr().err == (
            "mrcore: The current folder was deleted. Change to one that exists.\n"
        )


@pytest.mark.parametrize(
    ("closed", "engine"),
    [
        ("<&- >&- 2>&-", "embedded"),
        *((stream, "inline") for stream in ("<&-", ">&-", "2>&-")),
    ],
)
def test_streams_that_are_closed_do_no_harm(tmp_path: Path, closed: str, engine: str) -> None:
    (tmp_path / "wc.py").write_text("def map(key, value):\n    yield value, 1\n")
    (tmp_path / "in.txt").write_text("a\n")
    program = Path(sys.executable).with_name("mrcore")
    done = subprocess.run(
        ["bash", "-c", f"{program} run wc.py in.txt -o out -w 1 --engine {engine} {closed}"],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "out" / "part-00000").read_bytes() == b"a\t1\n"


def test_a_reader_that_has_seen_enough_ends_cat_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "wc.py").write_text("def map(key, value):\n    yield value, 1\n")
    (tmp_path / "in.txt").write_text("".join(f"{n}\n" for n in range(300_000)))
    program = Path(sys.executable).with_name("mrcore")
    made = [str(program), "run", "wc.py", "in.txt", "-o", "out", "--engine", "inline"]
    subprocess.run(made, cwd=tmp_path, capture_output=True, check=True)
    cat = f"'{program}' cat out | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", cat], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1:] == ["141"]
    assert done.stderr == ""
    before = signal.getsignal(signal.SIGPIPE)
    assert run_command_line(["cat", str(tmp_path / "out")]) == 0
    assert signal.getsignal(signal.SIGPIPE) is before, "a store that hangs up is not a reader"
