"""Builder of job specifications."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mrcore.model.calls import NO_PLUGIN
from mrcore.model.job import Input, JobSpec, Plugin, Session, StepFlags, Versions
from mrcore.records.inputs import parse_input

VERSIONS: Final = Versions(python="3.11", mrcore="0.1.0", pyarrow="20", cloudpickle="3")
NO_VERSIONS: Final = Versions(python="", mrcore="", pyarrow="", cloudpickle="")
"""Versions that suit a worker which does not report its own."""


def job_spec(
    name: str = "j",
    *,
    sha256: str = "0" * 64,
    plugin_name: str = "plugin",
    steps: tuple[StepFlags, ...] = (StepFlags(),),
    **fields: Any,
) -> JobSpec:
    """Return a job without inputs whose output is in memory; `fields` are those of `JobSpec`."""
    given: dict[str, Any] = {
        "plugin": Plugin(sha256=sha256, name=plugin_name, steps=steps),
        "inputs": (),
        "output_uri": f"mem://out/{name}",
        "versions": VERSIONS,
        **fields,
    }
    return JobSpec(name=name, **given)


def call_spec(name: str, session: Session, **fields: Any) -> JobSpec:
    """Return the description of a session, which has neither plugin nor output."""
    return job_spec(name, **{"plugin": NO_PLUGIN, "output_uri": "", "session": session, **fields})


def one_input(uri: str, given: str = "in") -> tuple[Input, ...]:
    """Return one input, shown to `map` as `given`."""
    return (Input(uri=uri, base_uri=uri, base_given=given),)


def spec_for(folder: Path, *inputs: str) -> JobSpec:
    """Return a job over files, with its output in a folder."""
    found = tuple(parse_input(text, str(folder)) for text in inputs)
    return job_spec("test", inputs=found, output_uri=f"file://{folder}/out")
