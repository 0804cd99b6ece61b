"""The archive that a VM installs itself from."""

from __future__ import annotations

import io
import tarfile

import pytest

from mrcore.deploy import payload
from tests.support.repository import ROOT

SUM = "a" * 64
MANIFEST = f"{SUM}  tiny-1.0-py3-none-any.whl\n{SUM}  pip-25.0-py3-none-any.whl\n"


def members(packed: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        return {member.name: member for member in archive}


def test_equal_parts_make_equal_bytes() -> None:
    first = payload.build_payload(MANIFEST)
    assert first == payload.build_payload(MANIFEST)
    turned = "".join(reversed(MANIFEST.splitlines(keepends=True)))
    assert first == payload.build_payload(turned), "the order of the list is not part of it"
    assert first != payload.build_payload(MANIFEST.replace("1.0", "1.1"))


def test_it_holds_all_that_the_scripts_use() -> None:
    found = members(payload.build_payload(MANIFEST))
    assert {f"systemd/{path.name}" for path in (ROOT / "deploy/systemd").iterdir()} <= set(found)
    text = (ROOT / "deploy/vm/install").read_text()
    for name in (
        "startup.sh",
        "wheels.sha256",
        "vm.conf",
        "backoff.conf",
        "standby.conf",
        "seal",
        "ops-agent.yaml",
    ):
        assert f"$here/{name}" in text
        assert name in found
    for unit in (ROOT / "deploy/systemd").glob("*.service"):
        for word in unit.read_text().split():
            if "/opt/mrcore/payload/" in word:
                assert word.rpartition("/")[2] in found
    assert all(member.uid == 0 and member.mtime == 0 for member in found.values())
    programs = {name for name, member in found.items() if member.mode == 0o755}
    assert programs == {"install", "startup.sh", "tail-logs", "after-daemon", "seal"}


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        (f"{SUM}  tiny-1.0-py3-none-any.whl\n", "lacks pip's own"),
        (f"{SUM}  ../evil.whl\n", "is not a line"),
        (f"{SUM}  pip-1.tar.gz\n", "is not a line"),
        ("abc  pip-1.whl\n", "is not a line"),
        (f"{SUM}  pip-1.whl\n{SUM}  pip-1.whl\n", "names one of them twice"),
    ],
)
def test_a_list_that_is_none_is_refused(manifest: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        payload.build_payload(manifest)


def test_a_price_list_goes_along() -> None:
    assert members(payload.build_payload(MANIFEST, b"{}"))["prices.json"].size == len("{}")
    assert "prices.json" not in members(payload.build_payload(MANIFEST))


def test_the_scripts_of_the_metadata_fit_into_it() -> None:
    for path in (payload.startup_script(), payload.shutdown_script()):
        text = path.read_bytes()
        assert text.startswith(b"#!/bin/bash\n"), "Google's agent runs it as a program"
        assert len(text) < 256 * 1024
