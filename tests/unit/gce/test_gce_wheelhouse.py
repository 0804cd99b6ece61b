"""The wheels for the VMs: this very mrcore, the versions that are installed here, by digest."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import mrcore
from mrcore.errors import MrcoreError, UsageError
from mrcore.gce import wheel_cache, wheelhouse
from mrcore.gce.wheelhouse import Target
from mrcore.storage.registry import storage_for
from tests.support.repository import ROOT
from tests.support.stores import Place

pytestmark = pytest.mark.xdist_group("wheelhouse")  # one wheel for all
TARGET = Target("3.11", "x86_64")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty cache for these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def own_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return wheelhouse.make_own_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(own_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as an installation leaves it, without the checkout."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(own_wheel) as archive:
        archive.extractall(folder)
    return folder


def python(folder: Path, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run code with the mrcore that is installed in the folder."""
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder), "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_wheel_brings_all_that_the_runner_needs(own_wheel: Path) -> None:
    with zipfile.ZipFile(own_wheel) as archive:
        names = set(archive.namelist())
    shipped = {p.relative_to(ROOT).as_posix() for p in (ROOT / "deploy").rglob("*") if p.is_file()}
    assert {f"mrcore/{name}" for name in shipped if "__pycache__" not in name} <= names
    assert {name.partition("/")[0] for name in names} == {
        "mrcore",
        f"mrcore-{mrcore.__version__}.dist-info",
    }
    assert not any("__pycache__" in name or name.startswith("tests") for name in names)


def test_a_checkout_that_cannot_be_built_is_told_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, made = tmp_path / "root", tmp_path / "made"
    for folder in (root / "mrcore", made):
        folder.mkdir(parents=True)
    for name in ("mrcore/__init__.py", "README.md", "LICENSE"):
        (root / name).touch()
    setuptools = "[tool.setuptools]\npackages = ['mrcore']\n"
    (root / "pyproject.toml").write_text(f"[project]\nname = 'mrcore'\n{setuptools}")
    monkeypatch.setattr(mrcore, "__file__", str(root / "mrcore/__init__.py"))
    with pytest.raises(MrcoreError, match=r"cannot be built from .*version.*scripts/setup"):
        wheelhouse.make_own_wheel(made)


@pytest.mark.slow
def test_the_runner_works_from_an_installation(installed: Path) -> None:
    code = "from mrcore.cli.main import main; main()"
    ran = python(installed, code, "gce", "--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "mrcore gce COMMAND" in ran.stdout
    planned = python(
        installed, code, "gce", "up", "--dry-run", "--project=p", "--zone=us-central1-a",
        "--name=demo", "--bucket=b",
    )  # fmt: skip
    assert planned.returncode == 0, planned.stderr
    assert f"startup-script={installed}/mrcore/deploy/vm/startup.sh" in planned.stdout


@pytest.mark.slow
def test_an_installation_is_packed_again_as_it_was(
    own_wheel: Path, installed: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, pathlib; from mrcore.gce import wheelhouse; "
        "print(wheelhouse.make_own_wheel(pathlib.Path(sys.argv[1])))"
    )
    ran = python(installed, code, str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    packed = Path(ran.stdout.strip())
    with zipfile.ZipFile(own_wheel) as first, zipfile.ZipFile(packed) as second:
        record = next(name for name in first.namelist() if name.endswith("/RECORD"))
        names = sorted(set(first.namelist()) - {record})
        assert sorted(set(second.namelist()) - {record}) == names
        assert all(first.read(name) == second.read(name) for name in names)
        listed = {line.partition(",")[0] for line in second.read(record).decode().splitlines()}
        assert listed == {*names, record}


@pytest.mark.slow
def test_the_same_sources_make_the_same_wheel(
    own_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    again = wheelhouse.make_own_wheel(tmp_path)
    assert wheel_cache.sha256_of(again) == wheel_cache.sha256_of(own_wheel)


def test_versions_are_those_installed_here() -> None:
    pins = wheelhouse.installed_pins(
        ["pyarrow>=1", "google-cloud-storage", 'dev-only; extra == "x"']
    )
    names = [pin.partition("==")[0] for pin in pins]
    assert {"pyarrow", "google-cloud-storage", "google-auth", "requests", "urllib3"} <= set(names)
    assert names == sorted(names)
    assert "dev-only" not in names
    import pyarrow

    assert f"pyarrow=={pyarrow.__version__}" in pins


@pytest.mark.parametrize(
    ("machine_type", "machine"),
    [
        ("e2-standard-4", "x86_64"), ("n2d-highmem-8", "x86_64"), ("c4-standard-2", "x86_64"),
        ("t2a-standard-4", "aarch64"), ("c4a-standard-4", "aarch64"), ("n4a-standard-1", "aarch64"),
    ],
)  # fmt: skip
def test_processors_of_machine_types(machine_type: str, machine: str) -> None:
    assert wheelhouse.machine_of(machine_type) == machine


def test_pip_resolves_for_the_vms_and_not_for_this_machine() -> None:
    options = Target("3.12", "aarch64").pip_options()
    assert "--python-version=3.12" in options
    assert "--platform=manylinux_2_36_aarch64" in options
    assert "--platform=manylinux2014_aarch64" in options
    assert not any("x86_64" in option for option in options)


@pytest.mark.slow
def test_a_package_without_wheel_is_named(
    own_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheelhouse, "make_own_wheel", lambda folder: own_wheel)  # made once
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("no-such-package-anywhere==1\n")
    with pytest.raises(UsageError, match=r"cannot be resolved \(Could not find a version") as told:
        wheelhouse.resolve(tmp_path, TARGET, wanted)
    assert "CPython 3.11 on x86_64" in str(told.value)


@pytest.mark.slow
def test_what_was_resolved_once_needs_no_pip(
    own_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, names = tmp_path / "index", ["a-1-py3-none-any.whl", "pip-99-py3-none-any.whl"]
    index.mkdir()
    for name in names:
        hollow_wheel(index / name)
    own = hollow_wheel(tmp_path / own_wheel.name, "Requires-Dist: a\n")
    monkeypatch.setattr(wheelhouse, "make_own_wheel", lambda folder: own)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        found = wheelhouse.resolve(tmp_path / str(number), TARGET, None)
        assert [path.name for path in found] == [names[0], own.name, names[1]]
        # Without pip and an index only what is kept remains; mrcore itself may change.
        monkeypatch.setattr(wheelhouse, "_pip", lambda: ["false"])
        hollow_wheel(own, "Requires-Dist: a\nSummary: another\n")
    assert found[1].read_bytes() == own.read_bytes()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="cannot be resolved"):
        wheelhouse.resolve(tmp_path / "empty", Target("3.12", "x86_64"), None)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="cannot be resolved"):
        wheelhouse.resolve(tmp_path / "empty", TARGET, None)


def hollow_wheel(path: Path, more: str = "") -> Path:
    """Write a wheel without content; `more` are lines of its metadata."""
    name, version = path.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{info}/METADATA", head + more)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def test_requirements_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--requirements .*none.txt is not a file"):
        wheelhouse.check_requirements(tmp_path / "none.txt")


def test_the_manifest_is_what_sha256sum_checks(tmp_path: Path) -> None:
    for name in ("b-1-py3-none-any.whl", "a-1-py3-none-any.whl"):
        (tmp_path / name).write_bytes(name.encode())
    manifest = wheelhouse.manifest_of(tmp_path.glob("*.whl"))
    assert [line.split()[1][0] for line in manifest.splitlines()] == ["a", "b"]
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet"],
        input=manifest, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert checked.returncode == 0


def test_wheels_travel_once(gcs_place: Place, tmp_path: Path) -> None:
    wheel = tmp_path / "a-1-py3-none-any.whl"
    wheel.write_bytes(b"content")
    home = gcs_place.uri("home")
    assert wheelhouse.publish([wheel], home) == len(b"content")
    digest = hashlib.sha256(b"content").hexdigest()
    assert gcs_place.names() == [f"home/wheels/{digest}/{wheel.name}"]
    assert wheelhouse.publish([wheel], home) == 0


def test_wheels_of_a_store_do_not_travel_twice(tmp_path: Path, gcs_place: Place) -> None:
    wheels = []
    for name in ("a-1-py3-none-any.whl", "b-1-py3-none-any.whl"):
        wheels.append(tmp_path / name)
        wheels[-1].write_bytes(name.encode())
    store = gcs_place.uri("store")
    size = sum(path.stat().st_size for path in wheels)
    assert wheelhouse.publish(wheels[:1], gcs_place.uri("one"), store) == wheels[0].stat().st_size
    # Another cluster: only what is new travels.
    assert wheelhouse.publish(wheels, gcs_place.uri("two"), store) == wheels[1].stat().st_size
    assert wheelhouse.publish(wheels, gcs_place.uri("three"), store) == 0
    for home in ("two", "three"):
        for path in wheels:
            uri = gcs_place.uri(f"{home}/wheels/{wheel_cache.sha256_of(path)}/{path.name}")
            assert storage_for(uri).read(uri) == path.read_bytes()
    # The same cluster again, and one without a store.
    assert wheelhouse.publish(wheels, gcs_place.uri("three"), store) == 0
    assert wheelhouse.publish(wheels, gcs_place.uri("four")) == size
