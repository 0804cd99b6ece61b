"""`mrcore chaos` on real processes."""

from __future__ import annotations

import json
import os

from tests.support.run_support import Place

SLOW = """
    import time

    def map(key, value):
        time.sleep(0.03)
        for word in value.split():
            yield word, 1

    def reduce(key, values):
        return sum(values)
"""


def test_a_job_survives_disasters(place: Place) -> None:
    place.write("wc.py", SLOW)
    for number in range(5):
        place.write(f"in/{number}.txt", f"one two {number}\n" * 12)
    options = ("-w", "2", "--masters", "2", "--kill-workers", "50%", "--kill-master", "1")
    more = ("--memory-kills", "--storage-faults", "1%", "--lease", "2s", "--minutes", "0.01")
    is_root = os.geteuid() == 0
    cut = ("--partition",) if is_root else ()
    report = place.json("chaos", "wc.py", "in/", *options, *more, *cut, "--seed", "173")
    assert report["equal"] is True
    assert [run["verdict"] for run in report["runs"]] == ["equal", "equal"]
    kinds = {one["kind"] for one in report["faults"]}
    assert {"kill-worker", "kill-master"} <= kinds
    assert ("partition-master" in kinds) is is_root
    assert report["repeat"].startswith("mrcore chaos wc.py in/ -w 2")
    assert report["repeat"].endswith("--seed 173")
    assert not list(place.root.glob("mrcore-chaos-*")), "temporary outputs stay"


def test_a_job_that_differs_each_time(place: Place) -> None:
    place.write("pid.py", "import os\ndef map(key, value):\n    yield value, os.getpid()\n")
    place.write("in.txt", "one\n")
    arguments = ("chaos", "pid.py", "in.txt", "-w", "1", "--kill-workers", "100%", "-o", "out")
    result = place.run(*arguments, "--json")
    assert result.returncode == 1, result.stderr
    report = json.loads(result.stdout)
    # Where the undisturbed run differs already, disasters would show nothing.
    (run,) = report["runs"]
    assert (run["run"], run["verdict"]) == (0, "different")
    assert "differs from byte" in run["detail"]
    assert sorted(path.name for path in (place.work / "out").iterdir()) == ["run-0", "sequential"]
