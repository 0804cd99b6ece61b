"""A fleet on its way to people: the wire, the client, and the words of the command line."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mrcore.cli.fleet_text import fleet_lines
from mrcore.client.pace import Pace, stage_line
from mrcore.cost.text import cost_line
from mrcore.model.job import JobState
from mrcore.model.snapshots import Cost, FleetGroupView, FleetView, JobView, job_json
from mrcore.rpc.views import cost_to_proto, cost_view, fleet_to_proto, fleet_view, job_view
from tests.support.job_messages import message

DOLLARS = st.floats(-1e-6, 1e6, allow_nan=False)
COUNTS = st.integers(0, 2**32 - 1)
COSTS = st.builds(
    Cost,
    useful=DOLLARS,
    boot=DOLLARS,
    idle=DOLLARS,
    lost=DOLLARS,
    master=DOLLARS,
    operations=DOLLARS,
    class_a=COUNTS,
    class_b=COUNTS,
    vm_seconds=DOLLARS,
    preemptions=COUNTS,
)
GROUPS = st.builds(
    FleetGroupView,
    model=st.sampled_from(["spot", "standard"]),
    machine_type=st.text(max_size=20),
    target_size=COUNTS,
    machines=COUNTS,
    coming=COUNTS,
    hour_dollars=DOLLARS,
)
FLEETS = st.builds(
    FleetView,
    target=st.text(max_size=20),
    cluster=st.text(max_size=20),
    groups=st.lists(GROUPS, max_size=2).map(tuple),
    wanted_workers=COUNTS,
    min_workers=COUNTS,
    max_workers=COUNTS,
    joined_workers=COUNTS,
    notes=st.lists(st.text(max_size=20), max_size=3).map(tuple),
    cost=COSTS,
    max_cost=st.none() | st.floats(0.01, 1e6),
    hour_dollars=DOLLARS,
    preemptions_per_hour=st.none() | st.floats(0, 1e6),
    prices_date=st.text(max_size=10),
    ending=st.booleans(),
    seen_seconds=DOLLARS,
)

FLEET = FleetView(
    target="gce:p/zones/z",
    cluster="books",
    groups=(
        FleetGroupView(
            model="spot",
            machine_type="e2-standard-4",
            target_size=4,
            machines=3,
            coming=1,
            hour_dollars=0.05,
        ),
        FleetGroupView(model="standard"),
    ),
    wanted_workers=4,
    max_workers=20,
    joined_workers=3,
    notes=("No spot machines were to be had.",),
    cost=Cost(useful=1.0, idle=0.25, class_a=1_200, preemptions=2),
    max_cost=5.0,
    hour_dollars=0.2,
    preemptions_per_hour=0.5,
)


@given(FLEETS)
@settings(max_examples=30)
def test_a_fleet_comes_over_the_wire_as_it_was(fleet: FleetView) -> None:
    assert fleet_view(fleet_to_proto(fleet)) == fleet


@given(COSTS)
def test_a_cost_comes_over_the_wire_as_it_was(cost: Cost) -> None:
    assert cost_view(cost_to_proto(cost)) == cost


def test_a_cost_is_the_sum_of_its_parts() -> None:
    one = Cost(useful=1.0, boot=2.0, idle=3.0, lost=4.0, master=5.0, operations=6.0, class_a=7)
    assert one.dollars == 21.0
    assert one.plus(one) == Cost(
        useful=2.0, boot=4.0, idle=6.0, lost=8.0, master=10.0, operations=12.0, class_a=14
    )


def test_the_cost_of_a_job_is_there_only_where_something_is_paid() -> None:
    free = job_view(message())
    assert free.cost is None
    assert "cost" not in job_json(free)
    paid = message()
    paid.cost.CopyFrom(cost_to_proto(Cost(useful=1.5, idle=0.5)))
    found = job_json(job_view(paid))["cost"]
    assert found["dollars"] == 2.0
    assert found["useful"] == 1.5


def test_a_fleet_is_told_in_a_few_lines() -> None:
    lines = fleet_lines(FLEET)
    assert lines[0] == (
        "fleet      3 of 4 workers at work, at most 20, of the cluster books in gce:p/zones/z"
    )
    assert lines[1] == "  spot e2-standard-4: 3 of 4, 1 being made, $0.0500 an hour each"
    assert lines[2] == "spent      $1.2500 of $5.00 allowed, $0.2000 an hour"
    assert "1,200 class A" in lines[3]
    assert lines[4] == "preempted  2 machines: 0.50 for each hour of a spot machine"
    assert lines[5] == "note       No spot machines were to be had."
    assert len(lines) == 6
    assert "2 preemptions" in cost_line(FLEET.cost)


def test_what_a_job_has_cost_is_part_of_its_progress() -> None:
    job = JobView(
        job_id="j",
        name="j",
        state=JobState.RUNNING,
        output_uri="gs://b/o",
        cost=Cost(useful=1.234),
        note="1 of 4 workers have joined",
    )
    assert stage_line(job, Pace()) == "$1.23 so far, 1 of 4 workers have joined"
