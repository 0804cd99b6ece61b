"""Builders of job specifications."""

from __future__ import annotations

from pathlib import Path

from mrcore.model.job import JobSpec, Plugin, Versions
from mrcore.records.inputs import parse_input


def spec_for(folder: Path, *inputs: str) -> JobSpec:
    return JobSpec(
        name="test",
        plugin=Plugin(sha256="0" * 64, name="test"),
        inputs=tuple(parse_input(text, str(folder)) for text in inputs),
        output_uri=f"file://{folder}/out",
        versions=Versions(python="3.11", mrcore="0", pyarrow="0", cloudpickle="0"),
    )
