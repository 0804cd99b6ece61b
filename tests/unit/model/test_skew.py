"""Skew of partitions: what is far above the others is named, and nothing else."""

from __future__ import annotations

from mrcore.model.skew import LARGE_BYTES, SECTIONS_MAX, HeavyKey, heaviest, sentence, sizes_of

MIB = 1 << 20


def test_even_partitions_are_not_worth_a_sentence() -> None:
    runs = [(40 * MIB, 50 * MIB, 60 * MIB)] * 3
    assert sentence("reduce", runs, [], 10**9) == ""
    assert sentence("reduce", [], [], 0) == ""
    assert sentence("reduce", [(10**12,)], [], 10**9) == "", "one partition has no others"


def test_a_large_partition_is_named_with_its_size_and_that_of_the_others() -> None:
    runs = [(MIB, 10 * MIB, 2 * MIB), (MIB, 20 * MIB, 0)]
    found = sentence("step2-reduce", runs, [], 1_000)
    assert found.startswith(
        "step2-reduce-00001 has 31.5 MB to read, and the other tasks 2.1 MB on average."
    )
    assert "`-r`" in found


def test_a_small_partition_may_be_as_uneven_as_it_likes() -> None:
    assert sentence("reduce", [(0, LARGE_BYTES - 1)], [], 1_000) == ""
    assert sentence("reduce", [(0, LARGE_BYTES)], [], 1_000) != ""


def test_a_key_with_most_pairs_is_named_however_small_its_bytes_are() -> None:
    keys = [
        HeavyKey(2, "'the'", 900_000),
        HeavyKey(0, "'a'", 950_000),
        HeavyKey(2, "'the'", 300_000),
    ]
    assert heaviest(keys) == HeavyKey(2, "'the'", 1_200_000)
    found = sentence("reduce", [(10, 10, 10)], keys, 2_000_000)
    assert found.startswith(
        "reduce-00002 gets at least 1,200,000 of 2,000,000 pairs under one key, 'the'."
    )
    assert "`combine`" in found
    # Among very many pairs it is one of many keys, and no task waits for it.
    assert sentence("reduce", [(10, 10, 10)], keys, 10_000_000) == ""


def test_of_very_many_sections_a_sample_is_added_up() -> None:
    runs = [(1, 3)] * SECTIONS_MAX
    assert sizes_of(runs) == [SECTIONS_MAX, 3 * SECTIONS_MAX]
    visits = 0

    class Counted(tuple[int, ...]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            nonlocal visits
            visits += 1
            return super().__iter__()

    assert sizes_of([Counted((1, 3))] * SECTIONS_MAX) == [SECTIONS_MAX, 3 * SECTIONS_MAX]
    assert visits <= SECTIONS_MAX // 2
