"""The books of a fleet: what machines, slots and operations have cost, by what for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from mrcore.cost.__main__ import main
from mrcore.cost.core.ledger import Ledger, Load, Machine, Spend
from mrcore.cost.prices import load_prices
from mrcore.model.snapshots import Cost
from mrcore.util.clock import SYSTEM

PRICES = load_prices()
START = 1_000_000.0


def machine(name: str = "w", *, spot: bool = True, master: bool = False) -> Machine:
    return Machine(
        name=name,
        zone="us-central1-a",
        machine_type="e2-standard-4",
        spot=spot,
        master=master,
        created_seconds=START,
        disk_gib=10.0,
    )


def second(*, spot: bool = True) -> float:
    return Ledger(PRICES).hour("e2-standard-4", "us-central1-a", spot=spot, disk_gib=10.0) / 3600


def load(**running: int) -> Load:
    return Load(slots=4, running=running, elapsed_seconds=dict.fromkeys(running, 30.0))


def joined(*machines: Machine) -> Ledger:
    """Return books in which the worker of each machine has joined at once."""
    ledger = Ledger(PRICES)
    ledger.accrue(machines, {one.name: load() for one in machines}, [], (), START)
    return ledger


def test_a_machine_costs_boot_then_work_then_waiting() -> None:
    ledger = Ledger(PRICES)
    ledger.accrue([machine()], {}, ["a"], (), START + 50)
    ledger.accrue([machine()], {"w": load(a=1)}, ["a"], (), START + 100)
    ledger.accrue([machine()], {"w": load(a=3)}, ["a"], (), START + 300)
    ledger.accrue([machine()], {"w": load()}, [], (), START + 400)
    total = ledger.spend.total
    assert total.boot == pytest.approx(100 * second())
    assert total.useful == pytest.approx(150 * second())
    assert total.idle == pytest.approx(150 * second())
    assert total.dollars == pytest.approx(400 * second())
    assert total.vm_seconds == pytest.approx(400)
    assert ledger.job("a").dollars == pytest.approx(300 * second())


def test_jobs_pay_for_their_own_work_and_share_the_rest() -> None:
    machines = [machine(), machine("m", spot=False, master=True)]
    ledger = joined(*machines)
    ledger.accrue(machines, {"w": load(a=3, b=1)}, ["a", "b"], (), START + 400)
    assert ledger.job("a").useful == pytest.approx(300 * second())
    assert ledger.job("b").useful == pytest.approx(100 * second())
    assert ledger.job("a").master == pytest.approx(200 * second(spot=False))
    assert ledger.spend.total.master == pytest.approx(400 * second(spot=False))


def test_a_preempted_machine_takes_its_unfinished_work_along() -> None:
    ledger = joined(machine())
    ledger.accrue([machine()], {"w": load(a=4)}, ["a"], (), START + 200)
    assert ledger.accrue([], {}, ["a"], (), START + 210) == ["w"]
    cost = ledger.job("a")
    assert cost.lost == pytest.approx(30 / 4 * second())
    assert cost.useful + cost.lost == pytest.approx(200 * second())
    assert cost.preemptions == ledger.spend.total.preemptions == 1
    rate = ledger.preemptions_per_hour()
    assert rate == pytest.approx(3600 / 200)


def test_a_machine_that_we_deleted_was_not_preempted() -> None:
    ledger = joined(machine())
    ledger.accrue([machine()], {"w": load(a=4)}, ["a"], (), START + 200)
    assert ledger.accrue([], {}, ["a"], {"w"}, START + 210) == []
    assert ledger.spend.total.lost == 0.0
    assert ledger.preemptions_per_hour() == 0.0


def test_an_on_demand_machine_that_dies_loses_work_but_is_not_preempted() -> None:
    ledger = joined(machine(spot=False))
    ledger.accrue([machine(spot=False)], {"w": load(a=4)}, ["a"], (), START + 200)
    assert ledger.accrue([], {}, ["a"], (), START + 210) == []
    assert ledger.spend.total.lost > 0.0


def test_a_machine_is_billed_for_a_minute_at_least() -> None:
    ledger = Ledger(PRICES)
    ledger.accrue([machine()], {}, [], (), START + 10)
    ledger.accrue([], {}, [], {"w"}, START + 20)
    assert ledger.spend.total.dollars == pytest.approx(60 * second())


def test_a_machine_of_the_same_name_is_another_machine() -> None:
    ledger = Ledger(PRICES)
    ledger.accrue([machine()], {}, [], (), START + 100)
    later = replace(machine(), created_seconds=START + 500)
    ledger.accrue([later], {}, [], (), START + 600)
    assert ledger.spend.total.dollars == pytest.approx(200 * second())


def test_operations_are_booked_once() -> None:
    ledger = Ledger(PRICES)
    for _ in range(2):
        ledger.operations("a", 1_000, 10_000)
    ledger.operations("a", 2_000, 10_000)
    ledger.own_operations(500, 0)
    assert ledger.job("a").operations == pytest.approx(2 * 0.005 + 10 * 0.0004)
    assert ledger.spend.total.class_a == 2_500
    assert ledger.spend.total.operations == pytest.approx(2.5 * 0.005 + 10 * 0.0004)


def test_the_books_outlive_the_master() -> None:
    before = Ledger(PRICES)
    before.accrue([machine()], {"w": load(a=4)}, ["a"], (), START + 200)
    kept = msgspec.json.decode(msgspec.json.encode(before.spend), type=Spend)
    after = Ledger(PRICES, kept)
    after.accrue([machine()], {"w": load(a=4)}, ["a"], (), START + 300)
    assert after.spend.total.dollars == pytest.approx(300 * second())


def test_a_report_reads_the_books(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = f"file://{tmp_path}"
    assert main(["report", "--state", state]) == 2
    assert "no master with a fleet has run" in capsys.readouterr().err
    spend = Spend(total=Cost(useful=1.5, idle=0.5), jobs={"wc-1": Cost(useful=1.5)})
    books = {"spend": msgspec.to_builtins(spend), "wall_seconds": START, "more": 1}
    (tmp_path / "fleet.json").write_text(json.dumps(books))
    assert main(["report", "--state", state, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["dollars"] == 2.0
    assert found["jobs"]["wc-1"]["useful"] == 1.5
    assert main(["report", "--state", state]) == 0
    assert "$2.0000: useful 1.5000" in capsys.readouterr().out


def test_a_report_waits_for_books_that_are_new_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fleet.json"

    def write(useful: float, wall_seconds: float) -> None:
        spend = msgspec.to_builtins(Spend(total=Cost(useful=useful)))
        path.write_text(json.dumps({"spend": spend, "wall_seconds": wall_seconds}))

    write(1.0, START)
    monkeypatch.setattr(type(SYSTEM), "sleep", lambda *_: write(2.0, START + 60))
    command = ["report", "--state", f"file://{tmp_path}", "--booked-after"]
    assert main([*command, str(START)]) == 0
    assert "$1.0000" in capsys.readouterr().out
    assert main([*command, str(START + 30)]) == 0
    assert "$2.0000" in capsys.readouterr().out
