"""The policy of grouping: numbers in, decisions out."""

from __future__ import annotations

import pytest

from mrcore.shuffle import grouping_policy as policy
from mrcore.shuffle.grouping_policy import FOLD_ROWS, TRIAL_ROWS, TableSize


def test_bytes_shrink_with_the_rows_that_are_counted() -> None:
    size = TableSize(pending_rows=1_000, pending_bytes=40_000)
    size.recount(250)
    assert (size.pending_rows, size.pending_bytes) == (250, 10_000)
    size.recount(0)
    assert (size.pending_rows, size.pending_bytes) == (0, 0)
    size.recount(0)
    assert size.pending_bytes == 0, "nothing is divided by nothing"


@pytest.mark.parametrize(("rows", "due"), [(TRIAL_ROWS - 1, False), (TRIAL_ROWS, True)])
def test_the_trial_waits_for_enough_pairs(rows: int, due: bool) -> None:
    assert policy.is_trial_due(TableSize(pending_rows=rows)) is due


@pytest.mark.parametrize(("keys", "repeat"), [(50, True), (51, False)])
def test_keys_repeat_if_each_came_twice_on_average(keys: int, repeat: bool) -> None:
    assert policy.keys_repeat(TableSize(keys=keys, pending_rows=100)) is repeat


def test_a_table_is_full_by_its_bytes_or_by_the_rows_that_it_holds() -> None:
    by_bytes = TableSize(keys_bytes=50, pending_bytes=30, folded_bytes=20)
    assert not policy.is_full(by_bytes, 100, holds_rows=True)
    assert policy.is_full(by_bytes, 99, holds_rows=False)
    by_rows = TableSize(pending_rows=FOLD_ROWS)
    assert policy.is_full(by_rows, 100, holds_rows=True)
    assert not policy.is_full(by_rows, 100, holds_rows=False), "a tally only counts them"


@pytest.mark.parametrize(
    ("before", "left", "pays"),
    [(TRIAL_ROWS, TRIAL_ROWS // 2, True), (TRIAL_ROWS, TRIAL_ROWS // 2 + 1, False), (10, 10, True)],
)
def test_a_fold_pays_if_it_halves_the_values(before: int, left: int, pays: bool) -> None:
    assert policy.folding_pays(before, left) is pays


@pytest.mark.parametrize(("size_bytes", "flush"), [(50, False), (51, True)])
def test_a_folded_table_leaves_if_it_takes_half_of_the_room(size_bytes: int, flush: bool) -> None:
    assert policy.must_flush(TableSize(folded_bytes=size_bytes), 100) is flush


@pytest.mark.parametrize(("keys", "pays"), [(75, True), (76, False)])
def test_adding_up_pays_if_a_quarter_of_the_pairs_goes(keys: int, pays: bool) -> None:
    assert policy.adding_pays(keys, 100) is pays
