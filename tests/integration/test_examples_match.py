"""Every example gives what a sequential run gives, for 1, 2 and 4 workers and 1, 3 and 16 reducers.

One cluster for each number of workers runs all the jobs, as a cluster that is up would. The number
of reducers varies on one of them: `test_determinism` shows that workers and reducers do not meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcore.engine.api import Result, run
from mrcore.engine.embedded import EmbeddedCluster
from tests.support.example_jobs import ALL, EXAMPLES, Example, library_sources, shop

REDUCES = {1: (16,), 2: (1, 3, 16), 4: (3,)}
"""Numbers of reducers by the number of workers."""


@pytest.fixture(scope="module")
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for what clusters keep, so that nothing is left in that of the user."""
    home = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(home))
        yield home


@pytest.fixture(scope="module", params=[1, 2, 4], ids=lambda n: f"{n}-workers")
def workers(request: pytest.FixtureRequest) -> int:
    """The number of workers of the cluster that is up."""
    return int(request.param)


@pytest.fixture(scope="module")
def state_uri(workers: int, state_home: Path) -> Iterator[str]:
    """The state of that cluster."""
    with EmbeddedCluster(workers=workers, cwd=state_home) as cluster:
        cluster.credentials()
        yield cluster.folder.state_uri


def run_example(
    example: Example, inputs: list[Path], output: Path, reduces: int, state_uri: str | None
) -> Result:
    """Run one example as a user would from a program."""
    return run(
        EXAMPLES / example.plugin,
        inputs=inputs,
        output=output,
        reduces=reduces,
        input_format=example.input_format,
        total_order=example.total_order,
        params=example.params,
        state=state_uri,
        workers=3,
    )


def written(output: Path) -> dict[str, bytes]:
    """Return the parts by name."""
    return {part.name: part.read_bytes() for part in sorted(output.glob("part-*"))}


@pytest.mark.slow
@pytest.mark.parametrize("example", ALL.values(), ids=ALL.keys())
def test_example_equals_sequential_run(
    example: Example, workers: int, state_uri: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    inputs = example.make_inputs(tmp_path / "in")
    expected = sorted(example.expected({str(p): p.read_bytes().decode() for p in inputs}))
    assert expected
    for reduces in REDUCES[workers]:
        output = tmp_path / f"out-{reduces}"
        run_example(example, inputs, output, reduces, state_uri)
        parts = written(output)
        assert list(parts) == [f"part-{n:05d}" for n in range(reduces)]
        lines = b"".join(parts.values()).decode().removesuffix("\n").split("\n")
        if not example.total_order:
            lines.sort()
        assert lines == expected, f"{reduces} reducers"
        assert (output / "_SUCCESS").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inverted_index.py", "join.py", "classic/indexer.py"])
def test_number_of_workers_does_not_show_in_the_bytes(
    name: str, state_uri: str, state_home: Path, tmp_path: Path
) -> None:
    """The same job on this cluster and on an embedded one with three workers: the same parts."""
    (tmp_path / "in").mkdir()
    inputs = ALL[name].make_inputs(tmp_path / "in")
    run_example(ALL[name], inputs, tmp_path / "here", 3, state_uri)
    run_example(ALL[name], inputs, tmp_path / "there", 3, None)
    assert written(tmp_path / "here") == written(tmp_path / "there")


@pytest.mark.slow
def test_counters_of_the_join_tell_what_was_left_out(state_uri: str, tmp_path: Path) -> None:
    inputs = shop(tmp_path)
    orders, users = (path.read_text().splitlines() for path in inputs)
    known = {line.split("\t")[0] for line in users}
    buyers = [line.split("\t")[1] for line in orders]
    result = run_example(ALL["join.py"], inputs, tmp_path / "out", 3, state_uri)
    assert result.counters == {
        "orders without a user": sum(buyer not in known for buyer in buyers),
        "users without orders": len(known - set(buyers)),
    }


@pytest.mark.slow
def test_grep_counts_its_matches(state_uri: str, tmp_path: Path) -> None:
    result = run_example(ALL["grep.py"], library_sources(tmp_path), tmp_path / "out", 1, state_uri)
    assert result.counters == {"matches": len(list(result.lines()))}
