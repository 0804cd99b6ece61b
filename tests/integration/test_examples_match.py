"""Every example gives what a sequential run gives, in this process and on a cluster.

The number of reducers varies in this process, where a job costs little; a cluster of two workers
gives the same bytes. Four workers run the examples that keep files or partners apart, and
`test_determinism` varies the number of workers for all ways that rows take to their part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcore.engine.api import Result, run
from mrcore.engine.embedded import EmbeddedCluster
from tests.support.example_jobs import ALL, EXAMPLES, Example, library_sources, shop

pytestmark = pytest.mark.xdist_group("examples")  # one cluster of each size

REDUCES = 3
"""The number of reducers on the cluster, and one of those in this process."""


@pytest.fixture(scope="module")
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for what clusters keep, so that nothing is left in that of the user."""
    home = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(home))
        yield home


@pytest.fixture(scope="module")
def two_workers(state_home: Path) -> Iterator[str]:
    """The state of a cluster of two workers."""
    with EmbeddedCluster(workers=2, cwd=state_home) as cluster:
        cluster.credentials()
        yield cluster.folder.state_uri


@pytest.fixture(scope="module")
def four_workers(state_home: Path) -> Iterator[str]:
    """The state of a cluster of four workers."""
    with EmbeddedCluster(workers=4, cwd=state_home) as cluster:
        cluster.credentials()
        yield cluster.folder.state_uri


def run_example(
    example: Example,
    inputs: list[Path],
    output: Path,
    *,
    reduces: int = REDUCES,
    state_uri: str | None = None,
) -> Result:
    """Run one example as a user would from a program: in this process, or on a cluster."""
    return run(
        EXAMPLES / example.plugin,
        inputs=inputs,
        output=output,
        reduces=reduces,
        input_format=example.input_format,
        total_order=example.total_order,
        params=example.params,
        state=state_uri,
        engine="inline",
    )


def written(output: Path) -> dict[str, bytes]:
    """Return the parts by name."""
    return {part.name: part.read_bytes() for part in sorted(output.glob("part-*"))}


@pytest.mark.slow
@pytest.mark.parametrize("example", ALL.values(), ids=ALL.keys())
def test_example_equals_sequential_run(example: Example, two_workers: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    inputs = example.make_inputs(tmp_path / "in")
    expected = sorted(example.expected({str(p): p.read_bytes().decode() for p in inputs}))
    assert expected
    for reduces in (1, REDUCES, 16):
        output = tmp_path / f"out-{reduces}"
        run_example(example, inputs, output, reduces=reduces)
        parts = written(output)
        assert list(parts) == [f"part-{n:05d}" for n in range(reduces)]
        lines = b"".join(parts.values()).decode().removesuffix("\n").split("\n")
        if not example.total_order:
            lines.sort()
        assert lines == expected, f"{reduces} reducers"
        assert (output / "_SUCCESS").exists()
    run_example(example, inputs, tmp_path / "cluster", state_uri=two_workers)
    assert written(tmp_path / "cluster") == written(tmp_path / f"out-{REDUCES}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inverted_index.py", "join.py", "classic/indexer.py"])
def test_number_of_workers_does_not_show_in_the_bytes(
    name: str, four_workers: str, tmp_path: Path
) -> None:
    """The same job on four workers and in this process: the same parts."""
    (tmp_path / "in").mkdir()
    inputs = ALL[name].make_inputs(tmp_path / "in")
    run_example(ALL[name], inputs, tmp_path / "here")
    run_example(ALL[name], inputs, tmp_path / "there", state_uri=four_workers)
    assert written(tmp_path / "here") == written(tmp_path / "there")


@pytest.mark.slow
def test_counters_of_the_join_tell_what_was_left_out(tmp_path: Path) -> None:
    inputs = shop(tmp_path)
    orders, users = (path.read_text().splitlines() for path in inputs)
    known = {line.split("\t")[0] for line in users}
    buyers = [line.split("\t")[1] for line in orders]
    result = run_example(ALL["join.py"], inputs, tmp_path / "out")
    assert result.counters == {
        "orders without a user": sum(buyer not in known for buyer in buyers),
        "users without orders": len(known - set(buyers)),
    }


@pytest.mark.slow
def test_grep_counts_its_matches(tmp_path: Path) -> None:
    result = run_example(ALL["grep.py"], library_sources(tmp_path), tmp_path / "out")
    assert result.counters == {"matches": len(list(result.lines()))}
