"""Sizes, durations and counts as people write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcore.util import units


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("256MiB", 256 << 20),
        ("256mib", 256 << 20),
        ("1.5g", 3 << 29),
        ("2GB", 2_000_000_000),
        ("64 KiB", 64 << 10),
        ("1TiB", 1 << 40),
    ],
)
def test_size_is_read(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e3", "12 parsecs", "1.2.3", "9" * 30, "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write one such as"):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("500ms", 0.5), ("5m", 300), ("1h30m", 5400), ("7d", 604_800), ("2.5", 2.5)],
)
def test_duration_is_read(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-3s", "30 s", "30sec", "5m-", "m5", "1h 30m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write one such as"):
        units.parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "spelt"),
    [
        (0.0, "0 seconds"),
        (1.0, "1 second"),
        (0.25, "0.25 seconds"),
        (90.0, "90 seconds"),
        (5_400.0, "90 minutes"),
        (86_400.0, "1 day"),
        (3_650 * 86_400.0, "3,650 days"),
        (-3_600.0, "-3,600 seconds"),
        (float("inf"), "inf seconds"),
    ],
)
def test_duration_is_spelt(seconds: float, spelt: str) -> None:
    assert units.spell_duration(seconds) == spelt


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (12_345_678, "12.3 MB"), (5e12, "5 TB")],
)
def test_size_is_shown(size: float, shown: str) -> None:
    assert units.show_size(size) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 parts"), (1, "1 part"), (2, "2 parts"), (12_345, "12.3 k parts")]
)
def test_things_are_counted(count: float, shown: str) -> None:
    assert units.show_number(count, "part") == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1.0, "0.0 s"),
        (0.84, "0.8 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (185, "3 min 05 s"),
        (7_800, "2 h 10 min"),
        (273_600, "3 d 4 h"),
        (604_800, "7 d"),
    ],
)
def test_duration_is_shown(seconds: float, shown: str) -> None:
    assert units.show_duration(seconds) == shown


@given(st.floats(min_value=0, max_value=9.98e14))
def test_counts_and_sizes_stay_short(value: float) -> None:
    assert len(units.show_count(value).split()[0]) <= 5
    assert len(units.show_size(value).split()[0]) <= 5
