"""The table of job options: every front end and the wire are made from it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_type_hints

import pytest
from click.testing import CliRunner

from mrcore.cli import base
from mrcore.cli import job_options as cli_options
from mrcore.client.arguments import HasJobId, JobOptions, make_request
from mrcore.client.request import JobRequest, prepare
from mrcore.errors import UsageError
from mrcore.model import job_options, option_rules
from mrcore.model.job import JobDraft, Plugin, complete
from mrcore.model.job_options import Option
from mrcore.model.option_kinds import (
    Bytes,
    Choice,
    ColumnNames,
    ColumnTypes,
    Files,
    Flag,
    Folder,
    Jobs,
    Kind,
    Named,
    Needs,
    Params,
    Seconds,
    Share,
    Whole,
)
from mrcore.model.resources import Wanted
from mrcore.plugin.functions import FUNCTIONS, STEPS
from mrcore.rpc.convert import job_spec_from_proto, job_spec_to_proto, option_from_proto
from mrcore.rpc.v1 import job_pb2

PATH = str | os.PathLike[str]
NOT_OPTIONS = {"name", "inputs", "output_uri", "versions", "session"}
"""Fields of a draft that are arguments of every job, or filled by the client itself."""


KEYWORD_TYPES: dict[type[Kind], Any] = {
    Share: int | str,
    Seconds: float | str,
    Bytes: int | str,
    Choice: str,
    Named: str,
    Flag: bool,
    Params: Mapping[str, object],
    ColumnNames: str | Sequence[str],
    ColumnTypes: Mapping[str, str | type],
    Needs: Wanted | str | None,
    Folder: PATH,
    Jobs: str | HasJobId | Sequence[str | HasJobId],
    Files: str | os.PathLike[str] | Sequence[PATH],
}


def keyword_type(kind: Kind) -> Any:
    """Return the type that a keyword argument of this kind has."""
    if isinstance(kind, Whole):
        return int | Literal[kind.zero] if kind.zero else int
    return KEYWORD_TYPES[type(kind)]


def test_the_keywords_that_editors_see_are_those_of_the_table() -> None:
    hints = get_type_hints(JobOptions)
    options = {
        name: hint for name, hint in hints.items() if name not in {*FUNCTIONS, STEPS, "name"}
    }
    table = {option.name: keyword_type(option.kind) for option in job_options.JOB_OPTIONS}
    assert options == table


def test_every_field_of_a_draft_is_an_option_or_an_argument() -> None:
    fields = {option.draft_field for option in job_options.draft_options()}
    assert fields | NOT_OPTIONS == set(JobDraft.__struct_fields__)
    assert not fields & NOT_OPTIONS


def test_every_option_has_a_field_in_the_message() -> None:
    message = set(job_pb2.JobSpec.DESCRIPTOR.fields_by_name)
    options = {option.proto_field for option in job_options.draft_options()}
    assert options <= message
    rest = {"name", "plugin", "inputs", "output_uri", "versions"}
    rest |= {"resources", "calls", "retries", "keep", "max_bad_share"}
    assert message == options | rest


@pytest.mark.parametrize("option", job_options.draft_options(), ids=lambda option: option.name)
def test_the_zero_of_the_wire_is_the_default(option: Option) -> None:
    """A field that is not set reads as zero, so a zero that means something else would be lost."""
    match option.kind:
        case Whole(low, _) | Bytes(low, _):
            assert option.default == 0 or low > 0
        case Seconds(low, _, above):
            assert option.default is None or low > 0
            assert low > 0 or above
        case _:
            pass


def on_command_line(*arguments: str) -> JobRequest:
    """Return what `mrcore run ARGUMENTS` would ask for; raise AssertionError if it is refused."""
    taken: list[JobRequest] = []

    @base.command()
    @cli_options.job_options
    def command(**options: Any) -> None:
        taken.append(cli_options.take_request(options))

    result = CliRunner().invoke(command, list(arguments))
    assert result.exit_code == 0, result.output
    return taken[0]


def help_text() -> str:
    """Return the help text of a command with the options of the table."""

    @base.command()
    @cli_options.job_options
    def command(**options: Any) -> None:
        raise AssertionError(options)

    return CliRunner().invoke(command, ["-h"]).output


def test_one_entry_makes_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy option in place of another, over the same field of the draft and of the message."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wc.py").write_text("def map(key, value):\n    yield value, 1\n")
    (tmp_path / "in.txt").write_text("a\n")
    toy = Option(
        name="toy_limit",
        kind=Whole(0, 9),
        noun="the limit of toys",
        short="-y",
        help="Toys that may break.",
        field="max_bad_records",
    )
    rest = [o for o in job_options.JOB_OPTIONS if o.draft_field != toy.draft_field]
    monkeypatch.setattr(job_options, "JOB_OPTIONS", (*rest, toy))

    asked = on_command_line("wc.py", "in.txt", "-o", "out", "--toy-limit", "7")
    options: Any = {"toy_limit": 7}
    assert asked == make_request("wc.py", "in.txt", "out", **options)
    assert on_command_line("wc.py", "in.txt", "-o", "out", "-y", "7") == asked
    assert "-y, --toy-limit INTEGER RANGE" in help_text()
    assert "Toys that may break." in help_text()

    draft = prepare(asked).job
    assert draft.max_bad_records == 7
    spec = complete(draft, Plugin("0" * 64, "wc"))
    message = job_spec_to_proto(spec)
    assert message.max_bad_records == 7
    assert job_spec_from_proto(message) == spec

    options = {"toy_limit": 10}
    with pytest.raises(UsageError, match=r"^-y is 10, but must be at most 9\.$"):
        prepare(make_request("wc.py", "in.txt", "out", **options))
    message.max_bad_records = 10
    with pytest.raises(UsageError, match=r"^The limit of toys is 10, but must be at most 9\.$"):
        job_spec_from_proto(message)
    options = {"toy_limit": "many"}
    with pytest.raises(UsageError, match=r"^toy_limit is 'many', but has to be a whole number\.$"):
        make_request("wc.py", "in.txt", "out", **options)
    options = {"max_bad_records": 1}
    with pytest.raises(UsageError, match="knows no option 'max_bad_records'"):
        make_request("wc.py", "in.txt", "out", **options)


@pytest.mark.parametrize(
    ("kind", "text"),
    [(Whole(0, 9, zero="auto"), "10"), (Whole(0, 9, zero="auto"), "0"), (Whole(0, 9), "x")],
)
def test_a_number_out_of_bounds_is_refused_as_text(kind: Kind, text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is n"):
        option_rules.parse(kind, text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("7", 7),
        ("1%", "1%"),
        ("1 %", "1%"),
        ("0%", 0),
        ("100%", "100%"),
        ("0.50%", "0.5%"),
    ],
)
def test_bad_records_are_a_number_or_a_share(
    text: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wc.py").write_text("def map(key, value):\n    yield value, 1\n")
    (tmp_path / "in.txt").write_text("a\n")
    asked = on_command_line("wc.py", "in.txt", "-o", "out", "--max-bad-records", text)
    given = int(text) if text.isdigit() else text
    assert asked == make_request("wc.py", "in.txt", "out", max_bad_records=given)
    spec = complete(prepare(asked).job, Plugin("0" * 64, "wc"))
    assert spec.max_bad_records == value
    assert job_spec_from_proto(job_spec_to_proto(spec)) == spec


@pytest.mark.parametrize("text", ["-1", "101%", "-1%", "10000001", "1.5", "many", "%"])
def test_bad_records_that_are_neither_are_refused(text: str) -> None:
    @base.command()
    @cli_options.job_options
    def command(**options: Any) -> None:
        raise AssertionError(options)

    line = ["wc.py", "in.txt", "-o", "out", "--max-bad-records", text]
    result = CliRunner().invoke(command, line)
    assert result.exit_code == 2
    wanted = "is neither a number from 0 to 10000000 nor a share from 0% to 100%"
    assert f"'{text}' {wanted}" in " ".join(result.output.split())
    wanted = (
        f": '{text}' {wanted}" if "%" in text else f" is '{text}', but has to be a whole number"
    )
    with pytest.raises(UsageError, match=f"^max_bad_records{wanted}"):
        make_request("wc.py", "in.txt", "out", max_bad_records=text)


def test_a_share_of_a_stranger_is_checked() -> None:
    message = job_pb2.JobSpec(max_bad_share="200%")
    option = job_options.by_name()["max_bad_records"]
    with pytest.raises(UsageError, match=r"^The number of bad records is '200%'\. Give a number"):
        option_from_proto(option, message)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("max_bad_records", -1, "--max-bad-records is -1, but must be at least 0."),
        ("record_timeout", 0.05, "--record-timeout is 0.05 s, but must be at least 0.1 s."),
        ("priority", 1_001, "--priority is 1,001, but must be at most 1,000."),
        ("priority", -1_001, "--priority is -1,001, but must be at least -1,000."),
        ("lease", 3_601, "--lease is 3,601 s, but must be at most 3,600 s."),
        ("task_timeout", -1, "--task-timeout is -1 s, but must be more than 0 s."),
        ("memory", -1, "--memory is -1 bytes, but must be at least 0 bytes."),
        ("reduces", 100_001, "-r is 100,001, but must be at most 100,000."),
        (
            "after",
            ["a"] * 2 + [f"j-{n}" for n in range(100)],
            "--after has 101 jobs. Name at most 100.",
        ),
        ("after", "../x", "--after: '../x' is not a job id. `mrcore jobs` lists the ids."),
    ],
)
def test_numbers_of_the_api_have_the_limits_of_the_table(name: str, value: Any, said: str) -> None:
    options: Any = {name: value}
    with pytest.raises(UsageError) as refused:
        prepare(make_request("wc.py", "in.txt", "out", **options))
    assert str(refused.value) == said
