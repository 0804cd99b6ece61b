"""The public names: cheap to import, typed, and usable under `mypy --strict`."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mrcore

PROGRAM = """
import asyncio
from collections.abc import Iterable

import mrcore
from mrcore import CallFuture, Client, JobFuture, LocalCluster, Result, Status


def square(number: int) -> int:
    return number * number


def added(values: list[int]) -> int:
    return sum(values)


def words(key: object, line: str) -> Iterable[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


def jobs(client: Client) -> Result:
    job: JobFuture = client.submit("wc.py", inputs="in", output="out", reduces=2)
    other = client.submit(map=words, reduce=mrcore.sum, inputs=["in"], output="out", after=job)
    state: mrcore.JobState = other.progress().state
    counted: dict[str, int] = job.counters
    print(state, counted, job.fraction())
    return job.result(timeout=3.0)


def calls(client: Client) -> list[int]:
    one: CallFuture[int] = client.call(
        square, 3, retries=3, timeout="60s", resources={"cpu": 2, "memory": "4GiB", "labels": {"a"}}
    )
    shared: mrcore.Scattered[list[int]] = client.scatter([1, 2])
    several: mrcore.MapResult[int] = client.map(square, range(10), chunksize=2)
    first: int = next(several)
    values: list[int] = client.gather([one, client.call(square, one)])
    print(first, shared.result(), shared.size_bytes)
    counted: list[tuple[str, int]] = client.mapreduce(
        ["a b"], lambda items: [(item, 1) for item in items], added, workers=2
    )
    print(counted)
    with client.executor() as executor:
        values.append(executor.submit(square, 2).result())
        values += executor.map(square, [1, 2])
    return values


async def wait(client: Client) -> int:
    return await client.call(square, 2)


def main() -> None:
    with LocalCluster(workers=2, slots=1, memory="256MiB") as cluster:
        calls(cluster)
        asyncio.run(wait(cluster))
        cluster.scale(workers=3)
        status: Status = cluster.status()
        print(status.utilisation, status.tasks_queued, cluster.monitor.workers().rows)
        workers: list[mrcore.WorkerView] = cluster.workers()
        print(workers)
        cluster.shutdown(cleanup=True)
    with mrcore.connect("HOST:7350", token="secret") as client:
        print(jobs(client).output)
    try:
        mrcore.connect(state="gs://bucket/state")
    except mrcore.ClusterUnreachableError as error:
        raise SystemExit(str(error)) from None
"""


def test_a_program_with_public_names_passes_strict_type_checks(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    # Only the program itself is checked anew; what is known of mrcore comes from the lint's cache,
    # as long as no option differs that decides how modules are checked.
    root = Path(mrcore.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(program)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def names_of_type_checkers() -> dict[str, str]:
    """Return the public names that type checkers and editors see, by module."""
    found = {}
    for node in ast.walk(ast.parse(Path(mrcore.__file__).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mrcore"):
            for alias in node.names:
                assert alias.asname == alias.name, alias.name  # else it is not exported
                found[alias.name] = node.module
    return found


def signatures(name: str) -> Iterator[inspect.Signature]:
    """Yield the signatures of a public function, or of what a public class defines itself."""
    found = getattr(mrcore, name)
    if inspect.isfunction(found):
        yield inspect.signature(found)
    elif inspect.isclass(found):
        for method, function in vars(found).items():
            if not method.startswith("_") and inspect.isfunction(function):
                yield inspect.signature(function)


def test_every_public_name_is_there() -> None:
    for name, module in mrcore._PUBLIC.items():
        assert getattr(mrcore, name) is getattr(importlib.import_module(module), name)
    assert Path(mrcore.__file__).with_name("py.typed").exists()


def test_the_table_the_listing_and_the_types_have_the_same_names() -> None:
    assert names_of_type_checkers() == mrcore._PUBLIC
    assert [name for name in dir(mrcore) if not name.startswith("_")] == sorted(mrcore._PUBLIC)


@pytest.mark.parametrize("name", sorted(mrcore._PUBLIC))
def test_a_public_name_is_explained_and_typed(name: str) -> None:
    found = getattr(mrcore, name)
    own = vars(found).get("__doc__") if inspect.isclass(found) else found.__doc__
    assert own
    assert own != type(found).__doc__
    assert not own.startswith(f"{name}(")  # as dataclasses write it where there is none
    for signature in signatures(name):
        assert signature.return_annotation is not signature.empty
        untyped = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
        assert untyped in ([], ["self"], ["cls"])


def test_import_loads_next_to_nothing() -> None:
    """Of 150 ms of CPU, Python itself takes nearly all: `import mrcore` adds few modules."""
    count = (
        "import sys; before = set(sys.modules); import mrcore; print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {count}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = done.stdout.split()
    assert [name for name in loaded if name.startswith("mrcore")] == ["mrcore"]
    heavy = {"grpc", "google", "numpy", "pyarrow", "rich", "click", "msgspec", "cloudpickle"}
    assert heavy.isdisjoint(loaded)
    assert {"asyncio", "concurrent", "inspect", "dataclasses", "typing"}.isdisjoint(loaded)
    assert len(loaded) < 30
