"""The layers hold, and every dependency is there for a reason."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from tests.support.repository import ROOT
from tests.tidy.tree import nodes, python_files, shown

pytestmark = pytest.mark.xdist_group("parsed")  # each process parses the files anew

# What to look for, where the package is not imported under its own name.
IMPORT_NAMES = {
    "google-cloud-compute": "google.cloud.compute_v1",
    "google-cloud-storage": "google.cloud.storage",
    "google-crc32c": "google_crc32c",
    "googleapis-common-protos": "google.rpc",
    "grpcio": "grpc",
    "grpcio-health-checking": "grpc_health",
    "grpcio-reflection": "grpc_reflection",
    "protobuf": "google.protobuf",
}


def project() -> dict[str, list[str]]:
    """Return the names of the packages that pyproject.toml asks for, by group."""
    parsed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"runtime": parsed["dependencies"], **parsed["optional-dependencies"]}
    return {
        group: [re.split(r"[<>=!~\[; ]", line, maxsplit=1)[0] for line in lines]
        for group, lines in groups.items()
    }


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full name of every import, those inside functions too."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def sources() -> list[Path]:
    """Return the Python files that are installed."""
    return [p for p in python_files() if shown(p).split("/")[0] in {"mrcore", "master", "worker"}]


@pytest.mark.slow
def test_import_contracts_hold() -> None:
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("google.cloud", {"mrcore/storage/gcs", "master/fleet/compute.py"}),
        ("google.cloud.storage", {"mrcore/storage/gcs"}),
        ("click", {"mrcore/cli"}),
        ("rich", {"mrcore/cli"}),
    ],
)
def test_package_is_imported_in_its_place_only(package: str, allowed: set[str]) -> None:
    strays = [
        f"{shown(path)}:{line} {name}"
        for path in sources()
        for line, name in imports_of(path)
        if f"{name}.".startswith(f"{package}.")
        and not any(shown(path).startswith(place) for place in allowed)
    ]
    assert not strays


ROOM_PAIRS_MAX = 199
"""Pairs of rooms of which one imports the other. It may fall; to raise it takes a reason.

Three rooms came with calls, cluster objects and datasets: `calls`, `cluster` and `dataset`.
Then came `chaos`, which starts a cluster, submits jobs and compares outputs.
The entry starts the engine's launcher before it imports the command line.
"""


def room_of(module: str) -> str:
    """Return the room of a module: a folder below `mrcore`, or one of a daemon's."""
    names = module.split(".")
    return ".".join(names[: 3 if names[1:2] in (["master"], ["worker"]) else 2])


def test_rooms_import_no_more_rooms_than_before() -> None:
    graph = grimp.build_graph("mrcore", exclude_type_checking_imports=True, cache_dir=None)
    pairs = {
        (room_of(module), room_of(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    pairs = {(room, other) for room, other in pairs if room != other}
    both = sorted(pair for pair in pairs if pair[::-1] in pairs)
    assert not both, "rooms import each other"
    assert len(pairs) <= ROOM_PAIRS_MAX, "a new pair of rooms: import less, or say why in a commit"


def test_every_package_is_installed() -> None:
    """A folder that is missing here works in a checkout, and nowhere else."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    tops = ("mrcore", "master", "worker", "deploy")
    folders = {path.parent for top in tops for path in (ROOT / top).rglob("__init__.py")}
    names = {shown(folder).replace("/", ".") for folder in folders}
    names = {name if name.startswith("mrcore") else f"mrcore.{name}" for name in names}
    # A link is followed or not, by the version of Python.
    assert set(settings["packages"]) == names


def test_every_runtime_dependency_is_imported() -> None:
    names = {name for path in sources() for _, name in imports_of(path)}
    idle = []
    for package in project()["runtime"]:
        wanted = IMPORT_NAMES.get(package, package.replace("-", "_"))
        if not any(f"{name}.".startswith(f"{wanted}.") for name in names):
            idle.append(package)
    assert not idle, "drop what is not used"


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    reasons = dict(re.findall(r"^\| `([A-Za-z0-9-]+)` \| (\S.*?) \|$", text, re.MULTILINE))
    wanted = {name for names in project().values() for name in names}
    assert reasons.keys() == wanted


def test_constraints_pin_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {line.split("==")[0].lower() for line in lines if not line.startswith("#")}
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==\S+|#.*", line) for line in lines)
    wanted = {name.lower() for names in project().values() for name in names}
    assert wanted <= pins, "run scripts/lock"


def test_a_child_loads_nothing_of_the_network() -> None:
    probe = (
        "import sys, mrcore.tasks.child.main; "
        "print(*sorted({'grpc','asyncio','click','rich','google.cloud','master','worker',"
        "'google.protobuf'} & sys.modules.keys()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT / "docs"
    )
    assert run.stdout.split() == []


def test_a_launcher_loads_what_daemons_need_and_no_client() -> None:
    probe = (
        "import sys, mrcore.engine.launcher, mrcore.worker.__main__ as worker, msgspec._utils\n"
        "worker.load()\n"
        "print(*sorted({'mrcore.client.request', 'mrcore.engine.daemons', 'mrcore.plugin.bundle', "
        "'pyarrow', 'numpy', 'rich', 'click', 'google.cloud'} & sys.modules.keys()))\n"
        "assert {'grpc', 'mrcore.worker.shell.agent'} <= sys.modules.keys()\n"
        # Each of its forks would have to look at the types of the messages again.
        "msgspec._utils.get_class_annotations = None\n"
        "from mrcore.tasks.child import protocol\n"
        "for kind in (protocol.JobFile, protocol.Order, protocol.Finished):\n"
        "    msgspec.msgpack.Decoder(kind)\n"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", probe], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == []


def test_no_module_imports_a_test_module() -> None:
    imported = re.compile(
        r"^\s*(from|import) tests\.([\w.]+\.)?test_|^\s*from tests\S* import test_"
    )
    found = [
        f"{shown(path)}:{number}"
        for path in python_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if imported.search(line)
    ]
    assert not found, "move what tests share into tests/support"


def test_tests_make_jobs_with_one_builder() -> None:
    made = re.compile(r"(?<![\w.])JobSpec\(")
    found = [
        f"{shown(path)}:{number}"
        for path in python_files()
        if shown(path).startswith("tests/") and shown(path) != "tests/support/specs.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if made.search(line)
    ]
    assert not found, "call tests.support.specs.job_spec"
