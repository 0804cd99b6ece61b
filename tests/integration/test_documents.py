"""Commands of the documents: they work in a fresh checkout and with an empty home."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.support import documents
from tests.support.repository import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # a machine with pip alone fetches and installs for minutes
    pytest.mark.xdist_group("documents"),  # one checkout for all
]

PAGES = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"]
PAGES += [f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))]

SHOWN = [command for page in PAGES for command in documents.commands(ROOT / page, page)]

NOT_HERE = {
    "test": "it runs this test",
    "check": "test runs more than it does",
    "quickstart": "it has run before all pages",
}
"""Chores that a page does not run."""

IN_ONE_PROCESS = ("docs/datasets.md", "docs/testing.md")
"""Pages whose blocks `test_dataset_documents` runs, but for those that start processes."""

ON_A_CLUSTER = "docs/jobs.md"
"""A page of many jobs: they run on a cluster that the environment names."""

DAEMONS = (
    "mrcore master --listen 127.0.0.1:7350 --state ~/cluster",
    "mrcore worker --master 127.0.0.1:7350",
)
"""Daemons of that cluster."""

PORT = "7350"
"""The port in the documents, which may be taken here."""


class Reader:
    """A person with a fresh checkout, an empty home, and what they have typed so far."""

    def __init__(self, root: Path) -> None:
        self.checkout = root / "mrcore"
        self.home = root / "home"
        self.home.mkdir()
        _copy_checkout(self.checkout)
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        kept = ("LANG", "LC_", "SSL_", "TMPDIR", "PIP_", "UV_")
        self.environment = {
            **{name: os.environ[name] for name in os.environ if name.startswith(kept)},
            "HOME": str(self.home),
            "PATH": f"{self.checkout}/.venv/bin:{os.environ['PATH']}",
            # Packages that were fetched for the checkout under test are not fetched again.
            "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(caches / "uv")),
            "PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(caches / "pip")),
        }
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = str(free.getsockname()[1])
        self.address = f"127.0.0.1:{self._port}"
        # A machine with one core starts one worker a job.
        core = str(max(os.sched_getaffinity(0)))
        self._one_core = ["taskset", "-c", core] if shutil.which("taskset") else []

    def type(self, text: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run a line in a shell, to its end."""
        return subprocess.run(
            [*self._one_core, "bash", "-c", text.replace(PORT, self._port)],
            cwd=self.checkout,
            env={**self.environment, **extra},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, programs: list[str]) -> None:
        """Run Python programs one after the other, each as `__main__` with names of its own."""
        lines = [
            "for text in TEXTS:",
            "    exec(compile(text, 'page', 'exec'), {'__name__': '__main__'})",
        ]
        texts = [program.replace(PORT, self._port) for program in programs]
        (self.checkout / "page.py").write_text(f"TEXTS = {texts!r}\n" + "\n".join(lines) + "\n")
        done = self.type("python page.py")
        assert done.returncode == 0, done.stderr

    def start(self, text: str) -> subprocess.Popen[bytes]:
        """Start a daemon."""
        return subprocess.Popen(
            ["bash", "-c", f"exec {text.replace(PORT, self._port)}"],
            cwd=self.checkout,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start_cluster(self, lines: Iterable[str], daemons: list[subprocess.Popen[bytes]]) -> None:
        """Start daemons, each once the master answers; add them to those of the page."""
        for line in lines:
            daemons.append(self.start(line))
            self._wait_for(daemons[0])

    def _wait_for(self, daemon: subprocess.Popen[bytes]) -> None:
        """Wait until a client hears of the daemon's master."""
        while self.type(f"mrcore workers --master 127.0.0.1:{PORT}").returncode != 0:
            assert daemon.poll() is None
            time.sleep(0.1)


def _copy_checkout(target: Path) -> None:
    """Copy what git has, or would take, so that changes not yet committed are tested too."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():  # one that was removed may still be listed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    root = tmp_path_factory.mktemp("reader")
    yield Reader(root)
    shutil.rmtree(root)  # an environment of some hundred megabytes


@pytest.fixture(scope="module")
def quickstart(reader: Reader) -> str:
    """Output of the first command of the README; the others rest on it."""
    done = reader.type("./scripts/quickstart")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_quickstart_ends_with_words_and_their_counts(quickstart: str) -> None:
    assert "The ten most frequent words:\nself\t" in quickstart
    assert quickstart.endswith("all counts lie in out/quickstart/part-*\n")


@pytest.mark.usefixtures("quickstart")
@pytest.mark.parametrize("page", PAGES)
def test_code_of_a_page_runs(reader: Reader, page: str) -> None:
    """Save the modules of a page, then type its commands and run its programs, in their order."""
    blocks = documents.blocks(ROOT / page, page)
    if page in IN_ONE_PROCESS:
        blocks = [b for b in blocks if not b.program or documents.RUNS.search(b.text)]
    for block in blocks:
        if block.module:
            (reader.checkout / block.module).write_text(block.text)
    daemons: list[subprocess.Popen[bytes]] = []
    extra = {"MRCORE_MASTER": reader.address} if page == ON_A_CLUSTER else {}
    try:
        if extra:
            reader.start_cluster(DAEMONS, daemons)
        # Programs that follow each other share a process, which takes a second to start.
        for programs, group in itertools.groupby(blocks, key=lambda block: bool(block.program)):
            if programs:
                reader.run([block.program for block in group])
                continue
            for command in (each for block in group for each in block.commands):
                if command.elsewhere or command.program in NOT_HERE:
                    continue
                if command.words[1:2] in (["master"], ["worker"]):
                    reader.start_cluster([command.text], daemons)
                    continue
                done = reader.type(command.text, **extra)
                assert done.returncode == 0, f"{command.text}\n{done.stderr}"
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()


@pytest.mark.usefixtures("quickstart")
@pytest.mark.parametrize(
    "line",
    [
        "scripts/cloudtest --list",
        "scripts/gce --help",
        "scripts/gce up --help",
        "scripts/gen_protos protos",
    ],
)
def test_a_chore_sets_up_what_it_needs(reader: Reader, line: str) -> None:
    if "gen_protos" in line:
        (reader.checkout / "protos").mkdir()
    done = reader.type(line)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("quickstart")
def test_the_wheel_for_vms_needs_no_package_index(reader: Reader) -> None:
    make = "from mrcore.gce import wheelhouse; import pathlib; "
    make += "print(wheelhouse.make_own_wheel(pathlib.Path('wheel').absolute()))"
    (reader.checkout / "wheel").mkdir()
    done = reader.type(f'python -c "{make}"', PIP_NO_INDEX="1")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_file()


def test_what_is_not_run_is_little() -> None:
    run = [c for c in SHOWN if not c.elsewhere and c.program not in {"test", "check"}]
    assert {c.document for c in run} >= {
        "README.md",
        "CONTRIBUTING.md",
        "docs/jobs.md",
        "docs/cli.md",
    }
    assert {c.program for c in run} == {"mrcore", "quickstart", "setup", "printf", "python"}
