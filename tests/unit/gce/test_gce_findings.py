"""Findings in order: causes in front, what follows from them left out."""

from __future__ import annotations

from mrcore.gce.findings import Finding, errors_of, sort_out

OK = Finding("ok", "APIs")
LOGIN = "gcloud is not logged in. Run: gcloud auth login"
NOWHERE = "x-a has none of the machine types e2, or is not a place. See: gcloud compute zones list"


def error(message: str) -> Finding:
    return Finding("error", message)


def test_a_root_cause_comes_first_and_alone() -> None:
    found = sort_out(
        [
            Finding("ok", "Python 3.11 here and on the VMs"),
            error("The Google credentials for gs://b/in are no longer accepted (x): run `y`."),
            error("The permissions on p cannot be asked for (HTTP 401)."),
            error(f"Listing the APIs of p failed: {LOGIN}"),
            error(f"Looking at the bucket gs://b failed: {LOGIN}"),
            error("Reading the quotas of p failed: something else (all of it is in x)."),
            error("wc.py has no map."),
        ]
    )
    assert [one.message for one in found] == [
        f"Listing the APIs of p failed: {LOGIN}",
        "Python 3.11 here and on the VMs",
        "wc.py has no map.",
    ]


def test_a_place_that_is_none_comes_first_and_explains_the_rest() -> None:
    found = sort_out(
        [
            OK,
            error("network default has no subnet default in x: name one with --subnet."),
            error("the bucket gs://b is in eu and the VMs in x: take another."),
            error(NOWHERE),
        ]
    )
    assert found == [error(NOWHERE), OK]


def test_one_cause_is_named_once_and_other_causes_stay() -> None:
    stockout, quota = "a failed: stockout.", "b failed: a quota is used up."
    found = sort_out([error(stockout), error("c failed: stockout."), error(quota), OK, OK])
    assert errors_of(found) == [stockout, quota]
    assert found.count(OK) == 1


def test_what_is_fine_stays_in_order() -> None:
    found = [OK, Finding("warn", "look at this"), error("that is wrong")]
    assert sort_out(found) == found
