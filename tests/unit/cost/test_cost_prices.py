"""The price list, and estimates made with it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import msgspec
import pytest

from mrcore.cost.__main__ import main
from mrcore.cost.core.estimate import Plan, estimate, shuffling_stages
from mrcore.cost.prices import Range, Shape, load_prices, region_of
from mrcore.cost.text import cost_brief, estimate_text
from mrcore.errors import UsageError
from mrcore.model.snapshots import Cost
from mrcore.records.inputs import InputFile, listed
from mrcore.records.splits import auto_reduces
from mrcore.storage.base import ObjectInfo
from mrcore.util.units import show_dollars

PRICES = load_prices()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("e2-standard-4", Shape("e2", 4, 16)),
        ("n2-highmem-8", Shape("n2", 8, 64)),
        ("n1-standard-2", Shape("n1", 2, 7.5)),
        ("e2-medium", Shape("e2", 1, 4)),
        ("c3-highcpu-8", Shape("c3", 8, 16)),
        ("n2-custom-6-20480", Shape("n2", 6, 20)),
        ("custom-2-4096", Shape("n1", 2, 4)),
    ],
)
def test_a_machine_type_is_billed_for_its_cores_and_memory(name: str, shape: Shape) -> None:
    assert PRICES.shape(name) == shape


@pytest.mark.parametrize("name", ["", "large", "e2-standard-4; rm", "e2-standard-"])
def test_what_is_no_machine_type_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="not a machine type"):
        PRICES.shape(name)


def test_list_prices_come_out_as_google_lists_them() -> None:
    listed = {
        "e2-standard-4": 0.1340,
        "n1-standard-4": 0.1900,
        "n2-standard-4": 0.1942,
        "n2d-standard-4": 0.1690,
        "c2-standard-4": 0.2087,
    }
    for name, dollars in listed.items():
        hour = PRICES.machine_hour(name, spot=False, region="us-central1")
        assert hour.low == hour.high == pytest.approx(dollars, abs=5e-5), name
    # What the catalog has elsewhere, by the factor of the region.
    abroad = {"e2-medium": 0.0413, "n1-standard-4": 0.2344, "c3-standard-4": 0.2487}
    for name, dollars in abroad.items():
        hour = PRICES.machine_hour(name, spot=False, region="asia-southeast1")
        assert hour.high == pytest.approx(dollars, rel=0.01), name


def test_every_figure_says_where_it_is_from() -> None:
    figures = [(price.source, price.checked) for price in PRICES.families.values()]
    for source, checked in (*figures, (PRICES.spot_share.source, PRICES.spot_share.checked)):
        assert source
        assert date.fromisoformat(checked) <= date(2030, 1, 1)
    assert PRICES.regions_source
    assert set(PRICES.regions_checked) <= PRICES.regions.keys()


def test_an_estimate_by_an_estimated_price_says_so() -> None:
    assert PRICES.estimated(["c3-standard-4", "e2-standard-2", "z9-standard-4"]) == ["c3", "z9"]
    plan = Plan(
        workers=1, machine_types=("c3-standard-4",), spot=True, region="us-central1", input_bytes=1
    )
    assert any("prices of c3 are estimates" in reason for reason in estimate(plan, PRICES).reasons)
    surely = msgspec.structs.replace(plan, machine_types=("e2-standard-4",))
    assert not any("estimates" in reason for reason in estimate(surely, PRICES).reasons)


def test_a_disk_costs_more_where_machines_do() -> None:
    here, there = (PRICES.disk_hour(50, region) for region in ("us-central1", "asia-southeast1"))
    assert there == pytest.approx(here * 1.2, rel=0.05)


def test_spot_and_unknown_regions_have_their_factors() -> None:
    spot = PRICES.machine_hour("e2-standard-4", spot=True, region="us-central1")
    assert spot.low < spot.high < 0.134
    away = PRICES.machine_hour("e2-standard-4", spot=False, region="mars-north1")
    assert away.high == pytest.approx(0.134 * PRICES.other_region, rel=1e-3)
    assert region_of("us-central1-a") == "us-central1"


def test_a_list_of_ones_own_replaces_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "prices.json"
    dear = msgspec.structs.replace(PRICES, date="2030-01-01", class_a_thousand=5.0)
    own.write_bytes(msgspec.json.encode(dear))
    assert load_prices(str(own)).operations(1000, 0) == 5.0
    monkeypatch.setenv("MRCORE_PRICES", str(own))
    assert load_prices().date == "2030-01-01"
    own.write_text("{}")
    with pytest.raises(UsageError, match=r"prices\.json cannot be read"):
        load_prices()


def plan(**changes: object) -> Plan:
    usual = Plan(
        workers=20,
        machine_types=("e2-standard-4",),
        spot=True,
        region="us-central1",
        input_bytes=100 * 10**9,
        input_files=1_000,
    )
    return msgspec.structs.replace(usual, **changes)


def test_an_estimate_counts_tasks_requests_and_hours() -> None:
    found = estimate(plan(), PRICES)
    assert found.map_tasks == 320  # four for each slot
    assert found.reduce_tasks == auto_reduces(100 * 10**9, 80) == 240
    assert found.class_a > found.map_tasks + 2 * found.reduce_tasks
    assert found.class_b > 100 * 10**9 // (4 << 20)
    # Each reduce reads its section of each run, by a request of its own.
    assert found.class_b > found.map_tasks * found.reduce_tasks
    assert 0 < found.dollars_low < found.dollars_high < 2
    assert found.vm_hours_low < found.vm_hours_high
    assert any("Spot machines" in reason for reason in found.reasons)
    several = estimate(plan(masters=3), PRICES)
    assert several.vm_hours_low == pytest.approx(found.vm_hours_low * 23 / 21, abs=0.001)
    assert several.vm_hours_high == pytest.approx(found.vm_hours_high * 23 / 21, abs=0.001)
    assert several.dollars_low > found.dollars_low


def test_an_estimate_is_of_the_reduces_that_there_will_be() -> None:
    assert estimate(plan(input_bytes=1 << 20), PRICES).reduce_tasks == 1
    assert estimate(plan(reduces=7), PRICES).reduce_tasks == 7
    alone = estimate(plan(reduces=0), PRICES)
    assert alone.reduce_tasks == 0
    assert alone.class_a > 2 * alone.map_tasks, "the maps stage what a rewrite publishes"
    assert alone.class_b < estimate(plan(reduces=1_000), PRICES).class_b


def _file(name: str, job_format: str, size: int = 10**9) -> InputFile:
    info = ObjectInfo(uri=f"gs://b/{name}", size_bytes=size, generation="1")
    return listed(info, name, job_format)


def test_an_estimate_counts_the_map_tasks_that_the_job_asks_for() -> None:
    few, usual = estimate(plan(map_tasks=10), PRICES), estimate(plan(), PRICES)
    assert (few.map_tasks, usual.map_tasks) == (10, 320)
    assert few.seconds_low > 3 * usual.seconds_low, "of 80 slots only ten have work"
    assert few.class_b < usual.class_b


@pytest.mark.parametrize(
    ("name", "job_format", "tasks"),
    [
        ("a.txt", "text", 16),
        ("a.csv", "csv", 1),
        ("a.txt.gz", "text", 1),
        ("a.parquet", "parquet", 16),
        ("a.csv", "arrow", 1),
        ("a.jsonl", "arrow", 16),
    ],
)
def test_an_estimate_cuts_files_as_their_formats_allow(
    name: str, job_format: str, tasks: int
) -> None:
    files = (_file(name, job_format),)
    found = estimate(plan(input_bytes=10**9, input_files=1, files=files, workers=1), PRICES)
    assert found.map_tasks == tasks


def test_tasks_that_reserve_cpus_leave_slots_empty() -> None:
    one, four = (estimate(plan(cpus=cpus), PRICES) for cpus in (1.0, 4.0))
    assert one == estimate(plan(), PRICES)
    assert four.seconds_high > 2.5 * one.seconds_high


def test_an_estimate_of_several_steps_counts_every_stage() -> None:
    one = estimate(plan(), PRICES)
    three = estimate(plan(stages=shuffling_stages(3)), PRICES)
    assert (one.stages, three.stages) == (2, 4)
    assert three.map_tasks == one.map_tasks
    assert three.reduce_tasks == 3 * one.reduce_tasks
    assert three.tasks == three.map_tasks + three.reduce_tasks
    # Two more stages of reduces, each of which reads the sections of 240 runs.
    assert three.class_b - one.class_b == 2 * (240 * 240 + 2 * 240)
    assert three.class_a > one.class_a + 2 * 240
    assert three.seconds_low > one.seconds_low
    assert three.dollars_high > 2 * one.dollars_high
    assert any("3 shuffles" in reason for reason in three.reasons)
    assert "tasks     320 map, 240 reduce\n" in estimate_text(one)
    assert "tasks     320 map, 720 reduce, in 4 stages\n" in estimate_text(three)
    assert "tasks     320 map\n" in estimate_text(estimate(plan(reduces=0), PRICES))


def test_an_estimate_of_one_shuffle_is_the_same_with_and_without_its_stages() -> None:
    assert estimate(plan(stages=shuffling_stages(1)), PRICES) == estimate(plan(), PRICES)
    alone = estimate(plan(reduces=0), PRICES)
    assert estimate(plan(stages=shuffling_stages(0)), PRICES) == alone


def test_an_estimate_by_hours_is_the_price_of_these_hours() -> None:
    found = estimate(plan(hours=10.0, spot=False, input_bytes=0), PRICES)
    machines = 20 * PRICES.machine_hour("e2-standard-4", spot=False, region="us-central1").low
    assert found.dollars_low == pytest.approx(10 * machines, rel=0.1)
    assert found.map_tasks == 0


def test_more_machine_types_widen_the_range() -> None:
    one = estimate(plan(hours=1.0), PRICES)
    two = estimate(plan(hours=1.0, machine_types=("e2-standard-4", "n2-standard-4")), PRICES)
    assert two.dollars_low == one.dollars_low
    assert two.dollars_high > one.dollars_high


def test_what_the_list_lacks_is_said() -> None:
    found = estimate(plan(region="mars-north1", machine_types=("z9-standard-4",)), PRICES)
    assert any("mars-north1" in reason for reason in found.reasons)
    assert any("z9" in reason for reason in found.reasons)


def test_the_command_prints_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "estimate",
        "--workers",
        "2",
        "--machine-type",
        "e2-standard-2",
        "--input-bytes",
        "1GB",
    ]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "cost" in text
    assert PRICES.date in text
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["requests"] == found["class_a"] + found["class_b"]
    assert main([*arguments, "--steps", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"] == 3
    assert main([*arguments, "--map-tasks", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["map_tasks"] == 3
    assert main([*arguments, "--map-tasks", "-1"]) == 2
    assert "--map-tasks must be at least 0" in capsys.readouterr().err
    assert main([*arguments, "--steps", "0"]) == 2
    assert "--steps must be from 1 to 999" in capsys.readouterr().err
    assert main([*arguments, "--steps", "3", "--reduces", "0"]) == 2
    assert "--reduces 0 means maps alone" in capsys.readouterr().err
    assert main([*arguments, "--steps", "1", "--reduces", "0"]) == 0
    capsys.readouterr()
    assert main([*arguments[:-1], "many"]) == 2
    assert "--input-bytes" in capsys.readouterr().err


def test_ranges_add_and_scale() -> None:
    assert Range(1, 2).plus(Range(3, 5)).times(2) == Range(8, 14)


@pytest.mark.parametrize(
    ("dollars", "shown"),
    [(0, "$0.00"), (12.3, "$12.30"), (0.5, "$0.50"), (0.001, "$0.0010"), (1234.5, "$1,234.50")],
)
def test_small_amounts_are_not_nothing(dollars: float, shown: str) -> None:
    assert show_dollars(dollars) == shown


def test_what_was_spent_is_told_in_a_sentence() -> None:
    spent = Cost(useful=0.5, boot=0.02, master=0.004)
    assert cost_brief(spent) == (
        "it has cost $0.52 ($0.50 useful work, $0.020 booting, $0.0040 the master)"
    )
    assert "nothing yet" in cost_brief(Cost())
