"""Metrics as Prometheus reads them, and the rules of their names."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.repository import ROOT

Samples = dict[tuple[str, tuple[str, ...]], float]
"""Value by name and labels' values, in the order of the labels' names."""


def scrape(port: int) -> Samples:
    """Return what is served on loopback; fail on what Prometheus would not read."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        text = response.read().decode()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            values = tuple(value for _, value in sorted(sample.labels.items()))
            assert (sample.name, values) not in found, "reported twice"
            found[sample.name, values] = sample.value
    return found


def vitals(port: int) -> tuple[int, dict[str, Any]]:
    """Return the status and the answer of `/healthz`."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def check_names(samples: Samples, prefix: str) -> None:
    """Assert the conventions: a prefix, base units, and no unit but at the end."""
    names = {name for name, _ in samples}
    strange = {
        name for name in names if not name.startswith((prefix, "process_", "mrcore_build_info"))
    }
    assert not strange
    assert not {name for name in names if re.search(r"_(ms|millis|minutes|kb|mb|gb|percent)", name)}


def families(samples: Samples, prefix: str) -> set[str]:
    """Return the names of what begins so, a histogram's without its parts."""
    names = {name for name, _ in samples if name.startswith(prefix)}
    return {re.sub(r"_seconds_(bucket|sum|count)$", "_seconds", name) for name in names}


def documented(prefix: str) -> set[str]:
    """Return the names that the guide lists in its tables."""
    text = (ROOT / "docs/operations.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `mrcore_")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row) if name.startswith(prefix)}
