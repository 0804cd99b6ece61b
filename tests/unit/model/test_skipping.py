"""Shares and numbers of bad records that a job may skip."""

from __future__ import annotations

import pytest

from mrcore.model.skipping import MAX_SKIPPED, bad_records_problem, most_skipped, share_of


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("1%", "1%"),
        ("1 %", "1%"),
        ("2.50%", "2.5%"),
        ("100%", "100%"),
        ("0%", 0),
        ("0.001%", "0.001%"),
        ("12.345678%", "12.345678%"),
        ("99.99999%", "99.99999%"),
        ("0.000001%", "0.000001%"),
        ("007.0%", "7%"),
        ("000.00%", 0),
        ("100.1%", None),
        ("101%", None),
        ("-1%", None),
        ("1e1%", None),
        ("1", None),
        ("%", None),
        ("nan%", None),
        ("1%%", None),
    ],
)
def test_shares(text: str, share: object) -> None:
    assert share_of(text) == share
    if isinstance(share, str):
        assert share_of(share) == share, "the shortest form is read as the same share"


def test_a_share_is_a_number_once_all_is_read() -> None:
    assert most_skipped("1%") == MAX_SKIPPED
    assert most_skipped("1%", 99) == 0
    assert most_skipped("1%", 100) == 1
    assert most_skipped("0.1%", 2_999) == 2
    assert most_skipped("50%", 10**9) == MAX_SKIPPED
    assert most_skipped(7) == most_skipped(7, 3) == 7


@pytest.mark.parametrize(
    ("skipped", "allowance", "read", "begin"),
    [
        (3, 2, None, "3 bad records had to be skipped, and 2 are allowed by --max-bad-records."),
        (2, 1, 9, "2 bad records had to be skipped, and 1 is allowed by"),
        (1, "1%", 50, "1 bad record of 50 had to be skipped, and 1% is allowed by"),
        (
            MAX_SKIPPED + 1,
            "90%",
            None,
            "10,000,001 bad records had to be skipped, and 10,000,000 are the limit, and 90% is",
        ),
    ],
)
def test_a_job_with_too_many_is_told_how_many(
    skipped: int, allowance: int | str, read: int | None, begin: str
) -> None:
    problem = bad_records_problem(skipped, allowance, read)
    assert problem is not None
    assert problem.startswith(begin)
    assert bad_records_problem(most_skipped(allowance, read), allowance, read) is None
