"""Names of options in messages of programs: keywords in place of flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mrcore
from mrcore.client.python_names import NAMES, in_dataset, in_python, python_errors
from mrcore.errors import JobFailedError, MrcoreError, UsageError
from mrcore.model.job_options import JOB_OPTIONS


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("a\nb\n")


def test_every_job_option_has_a_name_by_each_of_its_flags() -> None:
    for option in JOB_OPTIONS:
        assert NAMES[option.long_flag].keyword == NAMES[option.shown_flag].keyword == option.name


@pytest.mark.parametrize(
    ("text", "of_program", "of_dataset"),
    [
        ("Give -o OUT.", "Give output=OUT.", "Give path=OUT."),
        ("as in -o out.", 'as in output="out".', 'as in path="out".'),
        ("add --overwrite to it", "add overwrite=True to it", "add overwrite=True to it"),
        (
            "Use --output-format jsonl or csv.",
            'Use output_format="jsonl" or csv.',
            "Use write_jsonl or csv.",
        ),
        ("another --output-format.", "another output_format.", "another write_… function."),
        ("use --input-format arrow", 'use input_format="arrow"', "use read_batches"),
        ("another --input-format", "another input_format", "another read_… function"),
        ("-r is 7, but", "reduces is 7, but", "reduces is 7, but"),
        ("--temp /x/y lies in", 'temp="/x/y" lies in', 'temp="/x/y" lies in'),
        ("--limit 5,000 makes", "limit=5,000 makes", "limit=5,000 makes"),
        ("-r auto", 'reduces="auto"', 'reduces="auto"'),
        ("Give --state URI.", "Give state=URI.", "Give state=URI."),
        ("ls --color x-r a--limit", "ls --color x-r a--limit", "ls --color x-r a--limit"),
    ],
)
def test_a_flag_becomes_a_keyword(text: str, of_program: str, of_dataset: str) -> None:
    assert in_python(text) == of_program
    assert in_dataset(text) == of_dataset


def refused(**options: Any) -> str:
    given: dict[str, Any] = {"map": lambda key, line: [(line, 1)], "inputs": "a.txt"}
    given |= {"output": "out", **options}
    with pytest.raises(MrcoreError) as error:
        mrcore.run(engine="inline", **given)
    return str(error.value)


def test_errors_of_run_name_its_keywords() -> None:
    assert 'as in output="out"' in refused(output=".")
    assert "map_only=True writes pairs unsorted, so total_order=True cannot hold" in refused(
        map_only=True, total_order=True
    )
    assert refused(priority=5_000).startswith("priority is 5,000, but must be at most")
    assert "map_tasks and records_per_task each say" in refused(map_tasks=2, records_per_task=2)
    nested = refused(map=lambda key, line: [{"n": [1]}], map_only=True, output_format="csv")
    assert 'Use output_format="jsonl" or parquet' in nested
    Path("out").mkdir()
    Path("out/mine").write_text("")
    assert "add overwrite=True to replace" in refused()
    assert "so overwrite=True does not touch it" in refused(overwrite=True)


def test_errors_of_datasets_name_their_functions() -> None:
    rows = mrcore.from_items([{"n": [1]}])
    with pytest.raises(mrcore.RunFailedError, match=r"Use write_jsonl or parquet, or yield a text"):
        rows.write_csv("out", engine="inline")
    with pytest.raises(UsageError, match='as in path="out"'):
        rows.write_jsonl(".", engine="inline")
    mixed = mrcore.from_items([{"n": 1}, {"n": "x"}])
    with pytest.raises(mrcore.RunFailedError) as error:
        mixed.write_parquet("p", engine="inline", workers=1)
    assert "--" not in str(error.value).replace("---", "")


def test_a_traceback_of_the_user_stays_as_it_is() -> None:
    def parse(line: str) -> Any:
        raise ValueError(f"unknown option --limit in {line}")

    with pytest.raises(mrcore.RunFailedError) as error:
        mrcore.from_items(["x"]).map(parse).collect(engine="inline")
    assert "ValueError: unknown option --limit in x" in str(error.value).partition("\n\n")[2]
    with pytest.raises(JobFailedError, match="--limit"), python_errors():
        raise JobFailedError("--limit")
