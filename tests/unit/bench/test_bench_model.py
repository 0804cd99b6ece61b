"""The model of what large jobs cost."""

from __future__ import annotations

from bench.model import CORES, SCALES, Scale, costs, lines
from mrcore.cost.prices import load_prices


def test_slower_cores_take_longer_and_cost_more() -> None:
    prices = load_prices()
    for scale in SCALES:
        fast, slow = (costs(speed, scale, prices) for speed in (40e6, 4e6))
        assert slow.seconds_low > 5 * fast.seconds_low
        assert slow.dollars_low > fast.dollars_low
        least = scale.terabytes * 1e12 / (40e6 * scale.workers * CORES)
        assert least < fast.seconds_low < fast.seconds_high


def test_requests_grow_as_the_data_does() -> None:
    prices = load_prices()
    for scale in (Scale(1, 8), Scale(10, 40), Scale(100, 200)):
        cost = costs(10e6, scale, prices)
        assert cost.requests < 1_500_000 * scale.terabytes
        assert cost.operations_dollars < cost.dollars_high / 2


def test_each_workload_has_a_row_for_each_scale() -> None:
    table = lines({"sort": 30e6, "words": 5e6}, load_prices())
    assert len(table) == 2 + 2 * len(SCALES)
    assert all(row.count("|") == table[0].count("|") for row in table)
    assert table[2].startswith("| sort | 1 TB | 8 | ")
