"""Retries of the inline engine: which failures another attempt follows."""

from __future__ import annotations

import pytest

from mrcore.engine.retries import Retries
from mrcore.model.skipping import key_mark
from mrcore.model.task import FailureKind, Mark, TaskFailure
from tests.support.specs import job_spec


def _failure(mark: Mark | None = None, *, skippable: bool = False) -> TaskFailure:
    return TaskFailure(kind=FailureKind.USER, message="it raised", mark=mark, skippable=skippable)


def test_a_careful_attempt_that_finds_no_record_is_the_last() -> None:
    retries = Retries(job_spec(max_bad_records=3, max_attempts=10))
    assert retries.may_follow(_failure(skippable=True), 3), "a careful attempt may find the record"
    assert retries.careful
    assert not retries.may_follow(_failure(skippable=True), 3)


def test_a_record_that_a_careful_attempt_finds_is_skipped() -> None:
    retries, mark = Retries(job_spec(max_bad_records=3, max_attempts=3)), key_mark("'a'", 1)
    assert retries.may_follow(_failure(skippable=True), 3)
    assert retries.may_follow(_failure(mark, skippable=True), 3)
    assert not retries.skip
    assert retries.may_follow(_failure(mark, skippable=True), 3)
    assert [skip.mark for skip in retries.skip] == [mark]


@pytest.mark.parametrize(("allowed", "failure"), [(0, _failure(skippable=True)), (3, _failure())])
def test_what_cannot_be_skipped_is_not_tried_again(allowed: int, failure: TaskFailure) -> None:
    assert not Retries(job_spec(max_bad_records=allowed)).may_follow(failure, 3)
