"""The example notebook in a Jupyter kernel, with what a person does beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.repository import ROOT
from tests.support.run_support import Place
from tests.support.waiting import wait_until

manager = pytest.importorskip(
    "jupyter_client.manager", reason="jupyter_client is not installed; run scripts/setup --dev"
)
pytest.importorskip("ipykernel", reason="ipykernel is not installed; run scripts/setup --dev")

NOTEBOOK = ROOT / "examples/cluster.ipynb"
CELL_SECONDS = 100.0


class Cell:
    """Streams, result and error of a cell."""

    def __init__(self) -> None:
        self.streams = {"stdout": "", "stderr": ""}
        self.data: dict[str, str] = {}
        self.error = ""

    def take(self, message: dict[str, Any]) -> None:
        content = message["content"]
        match message["msg_type"]:
            case "stream":
                self.streams[content["name"]] += content["text"]
            case "execute_result":
                self.data = content["data"]
            case "error":
                self.error = f"{content['ename']}: {content['evalue']}"


class Kernel:
    """A kernel of this Python, as Jupyter starts it for a notebook."""

    def __init__(self, place: Place) -> None:
        self._manager = manager.KernelManager()
        folders = {name: str(place.root / name) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR")}
        self._manager.start_kernel(cwd=str(place.work), env={**place.environment, **folders})
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=CELL_SECONDS)

    def begin(self, code: str) -> str:
        """Send a cell, and return the id of its messages."""
        sent: str = self._client.execute(code)
        return sent

    def interrupt(self) -> None:
        """Do what the stop button does."""
        self._manager.interrupt_kernel()

    def end(self, sent: str) -> Cell:
        """Return what a cell shows, once the kernel is idle again."""
        cell = Cell()
        while True:
            message = self._client.get_iopub_msg(timeout=CELL_SECONDS)
            if message["parent_header"].get("msg_id") != sent:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return cell
            cell.take(message)

    def run(self, code: str) -> Cell:
        """Run a cell, which must not fail."""
        cell = self.end(self.begin(code))
        assert cell.error == "", cell.error
        return cell

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(place: Place) -> Iterator[Kernel]:
    kernel = Kernel(place)
    yield kernel
    kernel.close()


SHOW_AT_ONCE = """
import mrcore.cluster.progress as progress

progress.DRAW_SECONDS = progress.FIRST_SECONDS = 0.0
"""
STUCK = """
import pathlib, threading

def stuck(number):
    pathlib.Path(f"begun-{number}").touch()
    threading.Event().wait()

list(cluster.map(stuck, range(8), chunksize=1, progress=False))
"""


def test_the_notebook_runs(kernel: Kernel, place: Place) -> None:
    code = [
        "".join(cell["source"])
        for cell in json.loads(NOTEBOOK.read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    cells = [kernel.run(source) for source in code[:-1]]
    assert "<div" in cells[0].data["text/html"]
    assert [cell.data["text/plain"] for cell in cells[1:6]] == ["2", "11", "42", "5950", "36"]
    assert "growing 1" in cells[2].streams["stdout"]
    assert "('be', 2)" in cells[6].data["text/plain"]
    assert "slots busy" in cells[7].data["text/html"]
    assert "<table" in cells[8].data["text/html"]
    _look_at_progress(kernel)
    _interrupt_a_map(kernel, place)
    assert "closed" in kernel.run(code[-1]).data["text/plain"]


def _look_at_progress(kernel: Kernel) -> None:
    """A cell draws one line over and over, and leaves it behind."""
    kernel.run(SHOW_AT_ONCE)
    shown = kernel.run("sum(cluster.map(abs, range(50)))")
    assert shown.data["text/plain"] == "1225"
    assert "\r" in shown.streams["stderr"]
    assert shown.streams["stderr"].endswith("\n")
    assert f"{'━' * 20} abs: 50/50" in shown.streams["stderr"]
    counted = kernel.run("mrcore.from_items(range(50)).count(on=cluster)")
    assert counted.data["text/plain"] == "50"
    assert f"{'━' * 20} count: map " in counted.streams["stderr"]
    silent = kernel.run("mrcore.from_items(range(50)).count(on=cluster, progress=False)")
    assert silent.streams["stderr"] == ""


def _interrupt_a_map(kernel: Kernel, place: Place) -> None:
    """The stop button ends a map that would never end, and its slots are free again."""
    sent = kernel.begin(STUCK)
    wait_until(lambda: list(place.work.glob("begun-*")), what="a call runs")
    kernel.interrupt()
    assert kernel.end(sent).error.startswith("KeyboardInterrupt")
    # All slots are needed for that: the calls that were stuck hold none.
    after = kernel.run("sorted(cluster.map(lambda n: n, range(8), chunksize=1))")
    assert after.data["text/plain"] == "[0, 1, 2, 3, 4, 5, 6, 7]"
    assert kernel.run("cluster.status().tasks_running").data["text/plain"] == "0"
