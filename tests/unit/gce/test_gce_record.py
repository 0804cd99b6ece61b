"""The record of a cluster: made once, completed by later commands, never contradicted silently."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mrcore.errors import UsageError
from mrcore.gce import record
from mrcore.gce.record import Record
from tests.support.gce_records import make_record
from tests.support.stores import Place


def make(place: Place, **changes: Any) -> Record:
    return make_record(place.uri("mrcore/demo"), **changes)


def test_a_record_is_made_once_and_then_found(gcs_place: Place) -> None:
    first = record.open_record(make(gcs_place), frozenset())
    later = make(gcs_place, created_seconds=5000, expires_seconds=99_000, workers=7)
    assert record.open_record(later, frozenset()) == first
    assert record.read_record(first.home) == first


def test_what_is_spelt_out_replaces_what_is_recorded(gcs_place: Place) -> None:
    first = record.open_record(make(gcs_place), frozenset())
    later = make(gcs_place, max_workers=9, idle_timeout="1h")
    merged = record.open_record(later, frozenset({"max_workers"}))
    assert merged == msgspec.structs.replace(first, max_workers=9)


@pytest.mark.parametrize(
    ("now", "changes", "life"),
    [
        (1800, {}, (1000, 9000)),
        (1801, {}, (1801, 12_601)),
        (1800, {"max_run_seconds": 7000}, (1800, 12_600)),
    ],
    ids=["long enough for a VM made now", "too short for one", "of VMs with another limit"],
)
def test_a_life_begins_anew_when_too_little_is_left_of_it(
    gcs_place: Place, now: int, changes: dict[str, int], life: tuple[int, int]
) -> None:
    record.open_record(make(gcs_place), frozenset())
    times = {"created_seconds": now, "expires_seconds": now + 7200 + 3600}
    again = make(gcs_place, **times, **changes)
    merged = record.open_record(again, frozenset({*record.LIFE, *changes}))
    assert (merged.created_seconds, merged.expires_seconds) == life


@pytest.mark.parametrize("field", record.FIXED)
def test_what_cannot_change_is_refused_by_name(gcs_place: Place, field: str) -> None:
    record.open_record(make(gcs_place), frozenset())
    other = make(gcs_place, **{field: "other"})
    with pytest.raises(UsageError, match=f"is there with {field}.*not other"):
        record.open_record(other, frozenset({field}))
    assert record.open_record(other, frozenset()) == make(gcs_place)


def test_inputs_and_outputs_of_every_run_are_kept(gcs_place: Place) -> None:
    record.open_record(
        make(gcs_place, inputs=("gs://b/one",), outputs=("gs://b/out/",)), frozenset()
    )
    second = make(gcs_place, inputs=("gs://b/two", "gs://b/one"))
    merged = record.open_record(second, frozenset({"inputs"}))
    assert merged.inputs == ("gs://b/one", "gs://b/two")
    assert merged.outputs == ("gs://b/out/",)


def test_what_was_made_to_stay_stays(gcs_place: Place) -> None:
    record.open_record(make(gcs_place, kept=True), frozenset())
    assert record.open_record(make(gcs_place, kept=False), frozenset()).kept


def test_two_runners_at_once_lose_neither_word(gcs_place: Place) -> None:
    made = record.open_record(make(gcs_place), frozenset())

    def change(found: Record | None) -> Record:
        assert found is not None
        if found.max_workers != 30:  # another runner is faster, once
            record.update_record(made.home, lambda _: msgspec.structs.replace(made, max_workers=30))
        return msgspec.structs.replace(found, workers=4)

    assert record.update_record(made.home, change).max_workers == 30
    assert record.read_record(made.home) == msgspec.structs.replace(made, workers=4, max_workers=30)


def test_there_may_be_no_record(gcs_place: Place) -> None:
    assert record.read_record(gcs_place.uri("mrcore/none")) is None


def test_a_record_that_cannot_be_read_is_told(gcs_place: Place) -> None:
    gcs_place.put("mrcore/demo/cluster.json", b'{"name": 3}')
    with pytest.raises(UsageError, match="not a record of this version of mrcore"):
        record.read_record(gcs_place.uri("mrcore/demo"))


@pytest.mark.parametrize("name", ["a", "run-1a2b3c4d", "a" + "b" * 30])
def test_names_that_resources_can_bear(name: str) -> None:
    assert record.check_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "1a", "a-", "a_b", "a" * 32, "a b", "-a", "a\n"])
def test_names_that_they_cannot(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a cluster"):
        record.check_name(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Demo"}, "cannot name a cluster"),
        ({"outputs": ("gs://b/",)}, "lie one in the other"),
    ],
)
def test_records_that_no_cluster_can_have(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_record("gs://b/mrcore/demo", **changes)


def test_a_field_is_changed_where_there_is_a_record(gcs_place: Place) -> None:
    made = record.open_record(make(gcs_place), frozenset())
    changed = record.change_record(made.home, max_workers=9)
    assert changed == msgspec.structs.replace(made, max_workers=9)
    assert record.read_record(made.home) == changed
    with pytest.raises(UsageError, match="No cluster has its home at"):
        record.change_record(gcs_place.uri("mrcore/none"), max_workers=9)
