"""`mrcore.run` from a program: functions, closures, results and errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import mrcore
from mrcore.errors import InputError, UsageError
from tests.support.run_support import Place


@pytest.fixture(autouse=True)
def here(place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in the place's folder, with its environment."""
    monkeypatch.chdir(place.work)
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    place.write("in/a.txt", "b a\n")
    place.write("in/b.txt", "b\n")
    return place.work


class OfModule(NamedTuple):
    """A value whose class comes from a module that only this machine has."""

    number: int


class OfScript(NamedTuple):
    """A value whose class comes from a script or notebook."""

    number: int


OfScript.__module__ = "__main__"


@pytest.mark.parametrize("engine", ["embedded", "inline"])
def test_lambdas_closures_and_classes(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "OfScript", OfScript, raising=False)
    suffix = "!"
    kinds = {"a": OfModule, "b": OfScript}
    result = mrcore.run(
        map=lambda key, line: [(word + suffix, kinds[word](1)) for word in line.split()],
        reduce=lambda key, values: sum(value.number for value in values),
        inputs=["in/*.txt"],
        output="out",
        reduces=1,
        workers=1,
        engine=engine,
        params={"a": "b"},
        task_timeout="30s",
    )
    assert list(result.lines()) == ["a!\t1", "b!\t2"]
    assert result.output == str(Path.cwd() / "out")
    assert result.job.state == "succeeded"
    assert result.elapsed_seconds > 0
    assert repr(result).startswith(f"<Result of {result.job_id}: {Path.cwd()}/out, ")


def test_failure_has_the_job_and_the_users_traceback() -> None:
    def refuse(key: object, line: str) -> None:
        raise ValueError("never")

    with pytest.raises(mrcore.RunFailedError, match="ValueError: never") as caught:
        mrcore.run(map=refuse, inputs="in", output="out", workers=1, max_attempts=1)
    assert caught.value.job.attempts.failed == 1
    assert "in refuse" in str(caught.value)


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(InputError, match="none does not exist"):
        mrcore.run(map=print, inputs=["none"], output="out")
    with pytest.raises(UsageError, match="needs one of plugin=PATH, map=FUNCTION and steps="):
        mrcore.run(inputs=["in"], output="out")
    with pytest.raises(UsageError, match="input_format is 'xml', but has to be one of text, whole"):
        mrcore.run("wc.py", inputs=["in"], output="out", input_format="xml")
    with pytest.raises(UsageError, match="not an engine"):
        mrcore.run("wc.py", inputs=["in"], output="out", engine="spark")
    for workers, slots in ((0, 1), (1, 0)):
        with pytest.raises(UsageError, match="at least one worker with one slot"):
            mrcore.run("wc.py", inputs=["in"], output="out", workers=workers, slots=slots)
    with pytest.raises(UsageError, match="knows no option 'typo'"):
        mrcore.run("wc.py", inputs=["in"], output="out", typo=1)  # type: ignore[call-arg]


SCRIPT_WITHOUT_GUARD = """
    import os, sys, pathlib, mrcore

    def map(key, value):
        yield value, 1

    starts = pathlib.Path("starts")
    with starts.open("a") as file:
        file.write("x")
    if len(starts.read_text()) > 3:
        sys.exit("this would go on without end")
    mrcore.run("job.py", inputs="in", output="out", map_only=True, engine=os.environ["ENGINE"])
"""


@pytest.mark.parametrize("engine", ["embedded", "inline"])
def test_a_script_without_a_main_guard_starts_no_second_job(
    place: Place, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("job.py", SCRIPT_WITHOUT_GUARD)
    monkeypatch.setenv("ENGINE", engine)
    done = subprocess.run(
        [sys.executable, "job.py"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(
        "PluginError: job.py starts a job when it is imported, as it is for each task. "
        'Guard that by `if __name__ == "__main__":`.'
    )
    assert len((place.work / "starts").read_text()) == 2, "the script, and one import of it"


@pytest.mark.parametrize("engine", ["embedded", "inline"])
def test_the_code_of_a_task_cannot_start_a_job(engine: str) -> None:
    def start(key: object, line: str) -> None:
        mrcore.run(map=print, inputs="in", output="other", engine="inline")

    with pytest.raises(mrcore.RunFailedError, match="The code of a job cannot start a job"):
        mrcore.run(map=start, inputs="in", output="out", workers=1, max_attempts=1, engine=engine)
    assert not Path("other").exists()
