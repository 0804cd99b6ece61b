"""Fixtures that all kinds of tests share."""

from __future__ import annotations

import gc
import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.gcsserver import GcsServer
from tests.support import stores
from tests.support.stores import Place

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Tests that a shell has started in the background ignore Ctrl-C. What they start has to do what
    # it does in a terminal.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Machines that run tests are busy, so no property has a time to keep, neither for an example nor
# for making one. Every run draws the same examples, so that a run that fails points to the change
# it runs on; `--hypothesis-profile=explore` draws others each time.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", settings.get_profile("steady"), derandomize=False)
settings.load_profile("steady")

_buckets = itertools.count(1)

SHOWN_BYTES = 40


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name binary parameters by their length.

    Their bytes may differ between the processes that share a run, such as the time in the head of a
    gzip file, and then pytest refuses to run anything.
    """
    if isinstance(val, bytes) and (len(val) > SHOWN_BYTES or not val.isascii()):
        return f"{argname} of {len(val)} bytes"
    return None


def pytest_collection_finish() -> None:
    """Spare the collector what stays until the end, and forks of this process the copies of it."""
    gc.collect()
    gc.freeze()


FILES = ["file", "file-named-temporaries", "file-no-links", "file-no-folder-locks"]
PLACES = ["memory", *FILES, "gs"]
ALL_PLACES = [*PLACES, "toy", "faulty-memory", "faulty-file", "faulty-gs"]


@pytest.fixture(scope="session", autouse=True)
def _state_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what commands remember of their jobs out of the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def _gcs_process_server() -> Iterator[GcsServer]:
    with GcsServer() as server:
        yield server


@pytest.fixture
def gcs_server(
    _gcs_process_server: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GcsServer]:
    """A GCS server of this process that `STORAGE_EMULATOR_HOST` names, without faults."""
    server = _gcs_process_server
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    rewrite_bytes = server.store.rewrite_bytes
    yield server
    server.faults.clear()
    server.store.rewrite_bytes = rewrite_bytes


@pytest.fixture
def gcs_place(gcs_server: GcsServer) -> Iterator[Place]:
    """A bucket of its own on that server, and the store that the registry then gives."""
    place = stores.gcs_place(gcs_server, f"bucket-{next(_buckets)}")
    with stores.registered(place):
        yield place


def _place(kind: str, request: pytest.FixtureRequest) -> Place:
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    folder: Path = request.getfixturevalue("tmp_path")
    if kind.startswith("file-"):
        stores.without_fsync(monkeypatch)  # one kind of files with it is enough
    match kind:
        case "memory":
            return stores.memory_place()
        case "toy":
            return stores.toy_place()
        case "file":
            return stores.file_place(folder)
        case "file-named-temporaries":
            stores.without_nameless_files(monkeypatch)
            return stores.file_place(folder, kind)
        case "file-no-links":
            stores.without_links(monkeypatch)
            return stores.file_place(folder, kind)
        case "file-no-folder-locks":
            stores.without_folder_locks(monkeypatch)
            return stores.file_place(folder, kind)
        case "gs":
            server: GcsServer = request.getfixturevalue("gcs_server")
            return stores.gcs_place(server, f"bucket-{next(_buckets)}")
        case _:
            return stores.wrapped(_place(kind.removeprefix("faulty-"), request))


@pytest.fixture(params=PLACES)
def any_storage(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each kind of store in turn, which the registry then gives for its scheme."""
    place = _place(request.param, request)
    with stores.registered(place):
        yield place


@pytest.fixture(params=ALL_PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Like `any_storage`, and each behind a faulty store without faults."""
    place = _place(request.param, request)
    with stores.registered(place):
        yield place
