"""A whole job on a back end of another scheme, which is registered from outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import mrcore
from mrcore.errors import MrcoreError
from tests.support import stores
from tests.support.stores import Place
from tests.support.toy_store import ToyStorage


@dataclass(frozen=True)
class Toy:
    """A store of `toy://` with an input of two files."""

    place: Place
    storage: ToyStorage

    def run(self, **options: bool) -> mrcore.Result:
        return mrcore.run(
            map=lambda key, line: [(word, 1) for word in line.split()],
            reduce=lambda key, values: sum(values),
            inputs=self.place.uri("in/*.txt"),
            output=self.place.uri("out"),
            temp=self.place.uri("temp"),
            reduces=2,
            engine="inline",
            **options,  # type: ignore[arg-type]
        )


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toy]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    place = stores.toy_place()
    assert isinstance(place.storage, ToyStorage)
    with stores.registered(place):
        place.put("in/a.txt", b"b a\n")
        place.put("in/b.txt", b"a\n")
        yield Toy(place, place.storage)


def test_input_output_and_temporaries_lie_there(toy: Toy) -> None:
    result = toy.run()
    assert sorted(result.lines()) == ["a\t2", "b\t1"]
    assert result.output == toy.place.uri("out")
    parts = [f"out/part-0000{index}" for index in range(2)]
    assert sorted(toy.place.names()) == ["in/a.txt", "in/b.txt", "out/_SUCCESS", *parts]
    runs = [uri for uri in toy.storage.written if uri.endswith(".run")]
    assert len(runs) == 2
    assert all(uri.startswith(toy.place.uri("temp/")) for uri in runs)


def test_the_rules_of_an_output_hold_there(toy: Toy) -> None:
    toy.run()
    with pytest.raises(MrcoreError, match=r"toy://bucket/base/out is not empty"):
        toy.run()
    toy.run(overwrite=True)
    with pytest.raises(MrcoreError, match="is a whole bucket"):
        mrcore.run(map=print, inputs=toy.place.uri("in"), output="toy://other", engine="inline")
