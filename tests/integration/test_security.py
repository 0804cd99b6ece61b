"""Tokens of a real cluster: roles, rotation, tokens for others, and where no secret may be."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from mrcore.cli.main import run_command_line
from mrcore.client.client import MasterClient
from mrcore.client.request import JobRequest, load_plugin, prepare
from mrcore.errors import NotAllowedError, UsageError
from mrcore.model.job import JobState
from mrcore.output.reading import output_lines
from mrcore.rpc.cluster import load_credentials, save_credentials
from mrcore.rpc.credentials import find_credentials, state_credentials
from mrcore.rpc.roles import Role
from mrcore.util.proc import descendants
from tests.support.daemons import Daemon, start_master, start_worker
from tests.support.waiting import wait_until

PLUGIN = """
import json, os, resource

def map(key, value):
    yield "environment", "\\n".join(f"{k}={v}" for k, v in os.environ.items())
    for name in ("environ", "cmdline"):
        yield name, open(f"/proc/self/{name}").read().replace("\\0", "\\n")
    yield "core", resource.getrlimit(resource.RLIMIT_CORE)[0]
    yield "child", os.getpid()
    if os.path.exists(GATE):
        with open(GATE) as gate:
            gate.read()

def reduce(key, values):
    return json.dumps(list(values))
"""
DAEMON_SETTINGS = {
    "MRCORE_STATE": "gs://secret-state",
    "MRCORE_WORKER_OPTIONS": "--label secret-label",
    "CREDENTIALS_DIRECTORY": "/run/credentials/secret",
}


class House:
    """A cluster of one worker, and a job whose code looks around."""

    def __init__(self, folder: Path, master: Daemon, worker: Daemon) -> None:
        self.folder = folder
        self.state_uri = f"file://{folder}/state"
        self.master = master
        self.worker = worker
        self.gate = folder / "gate"
        self._runs = 0
        request = JobRequest(
            plugin=str(folder / "look.py"), inputs=(str(folder / "in.txt"),), output="o", cwd=folder
        )
        self.prepared = load_plugin(prepare(request))

    def run(
        self, client: MasterClient, meanwhile: Callable[[], None] | None = None
    ) -> dict[str, object]:
        """Run the job, whose code may wait for `meanwhile`; return what it has seen."""
        self._runs += 1
        uri = f"file://{self.folder}/out-{self._runs}"
        spec = msgspec.structs.replace(self.prepared.spec, output_uri=uri)
        accepted = client.submit(spec, self.prepared.bundle.data)
        if meanwhile is not None:
            with self.gate.open("w"):  # once its code has come there
                self.gate.unlink()
                meanwhile()
        job = list(client.watch(accepted.job_id))[-1]
        assert job.state is JobState.SUCCEEDED, job.message
        pairs = (line.partition("\t") for line in output_lines(uri))
        return {key: json.loads(json.loads(v) if v[:1] == '"' else v)[0] for key, _, v in pairs}

    def tokens(self) -> dict[Role, str]:
        return {role: state_credentials(self.state_uri, role).token for role in Role}

    def key_lines(self) -> list[str]:
        """Return a line of the private key of each role's certificate."""
        keys = [state_credentials(self.state_uri, role).client_key for role in Role]
        return [own.key.splitlines()[1] for own in keys if own is not None]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-home"))
    (tmp_path / "in.txt").write_text("x\n")
    os.mkfifo(tmp_path / "gate")
    (tmp_path / "look.py").write_text(f"GATE = {str(tmp_path / 'gate')!r}\n{PLUGIN}")
    state_uri = f"file://{tmp_path}/state"
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(start_master(tmp_path, state_uri, "--mutual-tls"))
        scratch = ("--scratch", str(tmp_path / "scratch"))
        worker = start_worker(tmp_path, state_uri, *scratch, env=DAEMON_SETTINGS)
        yield House(tmp_path, master, stack.enter_context(worker))


def command(*words: str) -> None:
    assert run_command_line(list(words)) == 0


def remembers(process_id: int, secrets: Sequence[str]) -> bool:
    """Return whether one of some texts is in the writable memory of a process."""
    maps = Path(f"/proc/{process_id}/maps").read_text()
    with Path(f"/proc/{process_id}/mem").open("rb", buffering=0) as memory:
        for start, end in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw", maps, re.MULTILINE):
            memory.seek(int(start, 16))
            with contextlib.suppress(OSError):
                content = memory.read(int(end, 16) - int(start, 16))
                if any(secret.encode() in content for secret in secrets):
                    return True
    return False


def check_processes(house: House, secrets: Sequence[str]) -> None:
    """Check that the processes of a cluster show no secret, and that user code's have none."""
    children = descendants(house.worker.process.pid)
    assert len(children) == 2  # one forks, one runs the code
    for process_id in (house.master.process.pid, house.worker.process.pid, *children):
        for name in ("cmdline", "environ"):
            content = Path(f"/proc/{process_id}/{name}").read_bytes()
            assert not any(secret.encode() in content for secret in secrets), name
        limits = Path(f"/proc/{process_id}/limits").read_text()
        assert re.search(r"^Max core file size +0 ", limits, re.MULTILINE)
    assert remembers(house.worker.process.pid, secrets)  # the look finds what is there
    assert not any(remembers(process_id, secrets) for process_id in children)


def check_files(house: House, secrets: Sequence[str]) -> None:
    """Check that no file has a secret but those that are made for them."""
    for path in house.folder.rglob("*"):
        if path.is_file() and path.parent.name not in ("tokens", "clusters"):
            content = path.read_bytes()
            assert not any(secret.encode() in content for secret in secrets), path
            assert path.name == "tls.json" or b"PRIVATE KEY" not in content, path


def test_tokens_of_a_cluster(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    first = house.tokens()
    with MasterClient(state=house.folder / "state") as client:
        secrets = [*first.values(), *house.key_lines()]
        assert len(secrets) == 4
        seen = house.run(client, lambda: check_processes(house, secrets))
        for hidden in (*secrets, *DAEMON_SETTINGS.values()):
            assert hidden not in json.dumps(seen)
        assert seen["core"] == 0
        check_files(house, secrets)
        for folder in (house.folder / "scratch").iterdir():
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        # A worker's token cannot submit or read jobs.
        with MasterClient(state_credentials(house.state_uri, Role.WORKER)) as worker:
            for call in (lambda: list(worker.list()), lambda: house.run(worker)):
                with pytest.raises(NotAllowedError, match="does not allow"):
                    call()
        # A token alone does not let in who has no certificate.
        bare = msgspec.structs.replace(client.credentials, client_key=None, state_uri="")
        save_credentials(bare, house.folder / "bare.json")
        with pytest.raises(UsageError, match="wants a client certificate"):
            MasterClient(credentials=house.folder / "bare.json")
        # New tokens count at once for all that are connected, and former ones do not.
        command("token", "rotate", "--grace", "0s", "--state", str(house.folder / "state"))
        second = house.tokens()
        assert not {*first.values()} & {*second.values()}
        stranger = msgspec.structs.replace(client.credentials, token=first[Role.USER], state_uri="")
        with (
            MasterClient(stranger) as former,
            pytest.raises(UsageError, match="does not accept this token"),
        ):
            list(former.list())
        wait_until(lambda: house.run(client)["core"] == 0, 60)
        assert len(client.workers()) == 1
        assert find_credentials(house.master.address).token == second[Role.USER]
        # A token for somebody who cannot read the state, and its end.
        file = house.folder / "alice.json"
        options = ("--state", str(house.folder / "state"))
        command("token", "create", str(file), "--name", "alice", "--expires", "1h", *options)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        alice = load_credentials(file)
        # Where the file cannot be written there is no token either.
        words = ["token", "create", "/dev/null/bob.json", "--name", "bob", *options]
        assert run_command_line(words) == 2
        assert alice.state_uri == ""
        capsys.readouterr()
        command("token", "list", "--json", "--credentials", str(file))
        listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
        assert set(listed) == {"", "alice"}
        assert not any(secret in str(listed) for secret in (alice.token, *second.values()))
        command("token", "revoke", listed["alice"]["token_id"], *options)
        with (
            MasterClient(credentials=file) as ended,
            pytest.raises(UsageError, match="does not accept this token"),
        ):
            list(ended.list())
        log = house.master.log() + house.worker.log()
        secrets = [*first.values(), *second.values(), alice.token, *house.key_lines()]
        assert not any(secret in log for secret in secrets)
    assert house.worker.stop() == 0
    assert house.master.stop() == 0
