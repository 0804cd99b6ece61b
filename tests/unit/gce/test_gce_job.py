"""Facts on a job that the runner finds: faults all at once, and what later steps need."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mrcore.client.request import JobRequest
from mrcore.gce.job import JobFacts, look_at_job
from mrcore.gce.options import Options
from mrcore.gce.price import price_of_job
from mrcore.gce.runner import Runner
from mrcore.model.stages import kind_of
from mrcore.output.claim import Claim
from tests.support.stores import Place

PLUGIN = "def map(key, value):\n    yield value, 1\n"
HOME = "gs://b/mrcore/demo"


def look(folder: Path, plugin: str, *inputs: str, output: str, home: str = HOME) -> JobFacts:
    (folder / "wc.py").write_text(plugin)
    return look_at_job(JobRequest(plugin="wc.py", inputs=inputs, output=output, cwd=folder), home)


def test_a_job_that_can_run_has_its_size_and_its_places(tmp_path: Path, gcs_place: Place) -> None:
    gcs_place.put("in/a.txt", b"x" * 1000)
    gcs_place.put("in/b.txt", b"y")
    output = gcs_place.uri("out")
    facts = look(tmp_path, PLUGIN, gcs_place.uri("in/*.txt"), output=output)
    assert facts.errors == []
    assert (len(facts.files), facts.input_bytes) == (2, 1001)
    assert facts.inputs == (gcs_place.uri("in/"),)
    assert (facts.output, facts.written) == (output, (f"{output}/",))
    assert (facts.running, facts.reduces) == ("", None)
    assert [kind_of(stage.reads) for stage in facts.stages] == ["map", "reduce"]


def test_a_limited_job_is_priced_by_what_it_reads(
    tmp_path: Path, gcs_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MRCORE_GCS_LOGIN", "gcloud")  # a runner sets it
    for name in ("a", "b", "c"):
        gcs_place.put(f"in/{name}.txt", b"x" * 99 + b"\n" + b"y" * (3 << 20))
    (tmp_path / "wc.py").write_text(PLUGIN)
    found = {}
    for limit in (0, 3):
        request = JobRequest(
            plugin="wc.py",
            inputs=(gcs_place.uri("in/"),),
            output=gcs_place.uri("out"),
            cwd=tmp_path,
            options={"limit": limit},
        )
        facts = look_at_job(request, HOME)
        assert facts.errors == []
        found[limit] = (facts, price_of_job(Runner("run", Options(region="us-central1")), facts))
    assert found[0][0].input_bytes == 3 * (100 + (3 << 20))
    assert found[3][0].input_bytes == 100 + (3 << 20) + 100
    assert [file.end for file in found[3][0].files] == [0, 100]
    assert found[0][1][0] != found[3][1][0]


STEPS = """
from mrcore import Step

def once(key, value):
    yield value, 1

def total(key, values):
    yield key, sum(values)

steps = [Step(map=once, reduce=total), Step(map=once, reduce=total)]
"""


def test_a_job_of_several_steps_is_priced_by_its_stages(
    tmp_path: Path, gcs_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MRCORE_GCS_LOGIN", "gcloud")  # a runner sets it
    gcs_place.put("in/a.txt", b"x")
    facts = look(tmp_path, STEPS, gcs_place.uri("in/"), output=gcs_place.uri("out"))
    assert facts.errors == []
    assert [kind_of(stage.reads) for stage in facts.stages] == ["map", "reduce", "reduce"]
    lines = price_of_job(Runner("run", Options(region="us-central1")), facts)
    assert lines[0] == "tasks     1 map, 2 reduce, in 3 stages"


STATED = """
from mrcore import Input

def once(key, value):
    yield value["a"], 1

inputs = {"*.csv": Input(once, format="csv"), "*.txt": once}
options = {"map_tasks": 6, "resources": {"cpu": 2}, "map_only": True}
"""


def test_what_a_module_states_is_priced(
    tmp_path: Path, gcs_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MRCORE_GCS_LOGIN", "gcloud")  # a runner sets it
    gcs_place.put("in/a.csv", b"a,b\n" * 250)
    gcs_place.put("in/b.txt", b"x\n" * 2_500)
    facts = look(tmp_path, STATED, gcs_place.uri("in/*"), output=gcs_place.uri("out"))
    assert facts.errors == []
    assert [(file.format, file.group) for file in facts.files] == [("csv", 0), ("text", 1)]
    assert (facts.map_tasks, facts.cpus) == (6, 2)
    lines = price_of_job(Runner("run", Options(region="us-central1")), facts)
    assert lines[0] == "tasks     6 map", "a csv file is one piece, and the other is cut in five"


def test_all_faults_are_found_at_once_and_the_users_traceback_apart(
    tmp_path: Path, gcs_place: Place
) -> None:
    gcs_place.put("out/part-00000", b"mine")
    facts = look(
        tmp_path, "import no_such_module\n", gcs_place.uri("none/"), output=gcs_place.uri("out")
    )
    plugin, output, inputs = facts.errors
    assert "no_such_module" in plugin
    assert "is not empty" in output
    assert "none" in inputs
    assert not any("Traceback" in sentence for sentence in facts.errors)
    assert "no_such_module" in facts.tracebacks[0]
    # Nobody knows the size, so nobody can say a price.
    assert facts.input_bytes is None


def test_files_of_this_machine_are_refused_together(tmp_path: Path) -> None:
    facts = look(tmp_path, PLUGIN, "a.txt", "b.txt", "c.txt", output="gs://b/out")
    (sentence,) = facts.errors
    assert sentence.startswith(f"{tmp_path / 'a.txt'} and 2 more are files of this machine, which ")
    assert (facts.inputs, facts.written) == ((), ("gs://b/out/",)), "they need no rights"


def test_an_output_and_temporaries_of_this_machine_are_refused(tmp_path: Path) -> None:
    facts = look(tmp_path, PLUGIN, "gs://b/in/", output="out")
    (sentence,) = facts.errors
    assert sentence.startswith(f"{tmp_path / 'out'} is a file of this machine, which ")
    assert (facts.inputs, facts.written) == (("gs://b/in/",), ())


def test_an_output_around_the_home_is_refused(tmp_path: Path, gcs_place: Place) -> None:
    gcs_place.put("in/a.txt", b"x")
    home = gcs_place.uri("mrcore/demo")
    facts = look(tmp_path, PLUGIN, gcs_place.uri("in/"), output=gcs_place.uri("mrcore"), home=home)
    assert any("lie one in the other" in sentence for sentence in facts.errors)


def test_the_same_job_is_followed_and_that_of_another_cluster_is_not(
    tmp_path: Path, gcs_place: Place
) -> None:
    gcs_place.put("in/a.txt", b"x")
    job = "wc-20260101-000000-abcdef"
    held = Claim(job_id=job, request_id="r", state_uri=f"{HOME}/state", leader="", host="")
    gcs_place.put("out/_claim", msgspec.json.encode(held))
    places = {"output": gcs_place.uri("out")}
    facts = look(tmp_path, PLUGIN, gcs_place.uri("in/"), **places)
    assert (facts.errors, facts.running) == ([], job)
    facts = look(tmp_path, PLUGIN, gcs_place.uri("in/"), home="gs://b/mrcore/other", **places)
    assert facts.running == ""
    assert any(f"claimed by job {job}" in sentence for sentence in facts.errors)
