"""The bucket of the benchmarks: files go there and come back, and requests wait."""

from __future__ import annotations

import time
from pathlib import Path

from bench import bucket


def test_files_go_to_the_bucket_and_parts_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "part-00000").write_bytes(b"a\t1\n")
    (folder / "part-00001").write_bytes(b"b\t2\n")
    (folder / "_SUCCESS").write_bytes(b"{}")
    with bucket.served() as server:
        assert server.upload(folder, "in/x") == "gs://bench/in/x"
        before = server.requests()
        server.delay(0.05)
        began = time.perf_counter()
        server.download("in/x", tmp_path / "out")
        assert time.perf_counter() - began >= 3 * 0.05
        assert server.requests() == before + 3
        server.prompt()
        assert server.cpu_seconds() > 0
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert found == {"part-00000": b"a\t1\n", "part-00001": b"b\t2\n"}
