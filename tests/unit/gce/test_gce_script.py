"""The runner's own words, with a gcloud that only says what a test tells it to say."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mrcore.cli import gce
from mrcore.gce.options import Options
from tests.gcsserver import GcsServer
from tests.support.repository import ROOT
from tests.support.runner_site import InProcessSite, RunnerSite
from tests.support.stores import Place

COMMANDS = ("run", "up", "scale", "status", "ssh", "logs", "down", "gc", "audit", "cost", "image",
            "preflight")  # fmt: skip
WHERE = ("--project=p", "--zone=us-central1-a", "--name=demo", "--bucket=b")


@pytest.fixture
def house(tmp_path: Path) -> RunnerSite:
    made = RunnerSite(tmp_path)
    made.says("ERROR: (gcloud) nobody expected this call")
    (tmp_path / "home").mkdir()
    return made


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> InProcessSite:
    made = InProcessSite(tmp_path, monkeypatch, capfd)
    made.says("ERROR: (gcloud) nobody expected this call")
    (tmp_path / "home").mkdir()
    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(here: InProcessSite, command: str) -> None:
    ran = here.gce(command, "--help")
    assert ran.returncode == 0
    assert f"mrcore gce {command}" in ran.stdout
    assert f"\n  {command} " in here.gce("--help").stdout
    assert here.calls() == []


def test_every_option_is_explained_and_reaches_the_runner() -> None:
    for name, command in gce.command.commands.items():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.help, f"{name} {parameter.opts}"
    taken = {parameter.name for parameter in gce.up.params}
    renamed = {"machine_types": "machine_type", "max_run_seconds": "max_run_duration",
               "disk_gib": "disk_size", "shared_buckets": "shared_bucket"}  # fmt: skip
    fields = {renamed.get(field, field) for field in Options.__struct_fields__}
    assert taken - {"name_word", "debug"} == fields


@pytest.mark.parametrize("command", ["up", "down", "scale", "status", "cost", "image"])
def test_a_dry_run_touches_nothing_at_all(here: InProcessSite, command: str) -> None:
    words = ["3"] if command == "scale" else []
    ran = here.gce(command, *words, "--dry-run", *WHERE)
    assert ran.returncode == 0, ran.stderr
    assert here.calls() == []
    assert list((here.folder / "home").rglob("*")) == []


@pytest.mark.parametrize("command", ["audit", "gc"])
def test_a_dry_run_of_what_looks_looks_and_changes_nothing(
    here: InProcessSite, command: str
) -> None:
    here.says("", code=0)
    ran = here.gce(command, "--dry-run", "--project=p")
    assert ran.returncode == 0, ran.stderr
    assert "in project p" in ran.stderr
    assert here.calls()
    assert all(re.search(r" (list|get-iam-policy|get-value) ", call) for call in here.calls())
    assert list((here.folder / "home").rglob("*")) == []


def test_a_dry_run_prints_every_command_as_one_can_paste_it(house: RunnerSite) -> None:
    ran = house.gce("up", "--dry-run", *WHERE, "--workers=3", "--deadline=2h")
    lines = [line for line in ran.stdout.splitlines() if line.startswith("gcloud ")]
    words = [shlex.split(line.replace("$'", "'").replace("\\n", "\n")) for line in lines]
    verbs = [" ".join(w for w in line[1:6] if re.fullmatch("[a-z-]+", w)) for line in words]
    for verb in (
        "iam service-accounts create",
        "iam roles create",
        "projects add-iam-policy-binding",
        "storage buckets add-iam-policy-binding",
        "compute firewall-rules create",
        "compute instance-templates create",
        "compute instance-groups managed create",
        "compute instances create",
    ):
        assert any(found.startswith(verb) for found in verbs), verb
    group = next(line for line in words if "mrcore-demo-spot" in line)
    assert {"--size=3", "--zone=us-central1-a", "--project=p"} <= set(group)
    assert "\nMRCORE_DEADLINE=2h\n" in next(w for w in words[-1] if w.startswith("--metadata="))
    bindings = [
        line for line in words if line[1:4] == ["storage", "buckets", "add-iam-policy-binding"]
    ]
    roles = sorted(word.rpartition("/")[2] for b in bindings for word in b if "--role" in word)
    assert roles == ["mrcoreObjectCreator", "mrcoreObjectReader"] + 2 * ["mrcoreObjectWriter"]
    assert all("%%description=mrcore-home=gs://b/mrcore/demo " in b[-3] for b in bindings)
    reads = [line for line in ran.stdout.splitlines() if line.startswith("# reads: gcloud ")]
    assert len(reads) == len(set(reads)) > 10
    summary = ran.stdout.partition("\n# The commands, in their order:\n")[0]
    assert summary.startswith("# This would make the cluster demo in us-central1-a: a master ")
    assert "gcloud" not in summary
    assert "# An hour of work" in summary
    assert "\n# cost " in summary


def test_an_image_is_baked_by_a_vm_that_may_read_its_wheels(here: InProcessSite) -> None:
    ran = here.gce("image", "--dry-run", *WHERE)
    assert ran.returncode == 0, ran.stderr
    lines = [line for line in ran.stdout.splitlines() if line.startswith("gcloud ")]
    bound = [line for line in lines if "add-iam-policy-binding" in line]
    assert any("mrcore-master@p" in line and "/mrcore/demo/" in line for line in bound)
    (made,) = [line for line in lines if line.startswith("gcloud compute instances create ")]
    assert "--service-account=mrcore-master@p" in made
    assert "--instance-termination-action=STOP" in made
    assert lines.index(bound[-1]) < lines.index(made)


def test_a_dry_run_of_a_job_that_cannot_work_ends_with_2(house: RunnerSite) -> None:
    (house.folder / "wc.py").write_text("def map(key, value):\n    yield value, 1\n")
    (house.folder / "here.txt").write_text("text")
    words = ("wc.py", "here.txt", "-o", "gs://b/out", "--project=p", "--zone=us-central1-a")
    ran = house.gce("run", "--dry-run", *words)
    assert ran.returncode == 2, ran.stderr
    first, *others = ran.stdout.splitlines()
    assert first.startswith("# this would stop it: ")
    assert "here.txt is a file of this machine" in first
    # Nobody knows what the input is, so nothing is said of a price.
    assert [line for line in others if "cost" in line and line.startswith("# ")] == [
        "# cost      unknown, since the input could not be read"
    ]
    assert house.calls() == []


def test_a_dry_run_of_a_job_has_its_size_and_its_price(
    here: InProcessSite, gcs_place: Place, gcs_server: GcsServer
) -> None:
    gcs_place.put("in/a.txt", b"x" * 1000)
    (here.folder / "wc.py").write_text("def map(key, value):\n    yield value, 1\n")
    before = dict(gcs_server.counts())
    ran = here.gce(
        *("run", "wc.py", gcs_place.uri("in/"), "-o", gcs_place.uri("out"), "-r", "3"),
        *("--dry-run", "--project=p", "--region=us-central1", "--workers=4"),
    )
    assert ran.returncode == 0, ran.stderr
    assert here.calls() == []
    assert "this would stop it" not in ran.stdout
    assert re.search(r"^# input +1 kB", ran.stdout, re.MULTILINE)
    assert re.search(r"^# cost +\$", ran.stdout, re.MULTILINE)
    assert "mrcore run wc.py" in ran.stdout
    assert "-r 3" in ran.stdout
    after = gcs_server.counts()
    changed = {verb for verb in after if after[verb] != before.get(verb, 0)}
    assert changed <= {"objects.get", "objects.list", "objects.media"}


def test_temporaries_elsewhere_are_for_workers_to_make(
    here: InProcessSite, gcs_place: Place
) -> None:
    gcs_place.put("in/a.txt", b"x")
    (here.folder / "wc.py").write_text("def map(key, value):\n    yield value, 1\n")
    ran = here.gce(
        *("run", "wc.py", gcs_place.uri("in/"), "-o", gcs_place.uri("out")),
        *("--temp", gcs_place.uri("spare"), "--dry-run", "--project=p", "--region=us-central1"),
    )
    assert ran.returncode == 0, ran.stderr
    lines = [line for line in ran.stdout.splitlines() if "add-iam-policy-binding" in line]
    (made,) = [line for line in lines if "mrcoreObjectCreator" in line and "worker-temps" in line]
    assert "/base/spare/" in made
    assert "/base/out/" not in made  # that is opened for what lies in its _tmp alone


@pytest.mark.parametrize("how", [["-o", "OUT"], ["-oOUT"], ["--output", "OUT"], ["--output=OUT"]])
def test_an_output_may_be_named_as_one_likes(
    here: InProcessSite, gcs_place: Place, how: list[str]
) -> None:
    gcs_place.put("my in/a.txt", b"x")
    (here.folder / "wc.py").write_text("def map(key, value):\n    yield value, 1\n")
    where = ("--dry-run", "--project=p", "--region=us-central1")
    output = [word.replace("OUT", gcs_place.uri("my out")) for word in how]
    ran = here.gce(
        *("run", "wc.py", *output, *where, "--param", "a='b' \"c\"", "--"), gcs_place.uri("my in/")
    )
    assert ran.returncode == 0, ran.stderr
    assert "this would stop it" not in ran.stdout
    # A folder with a space in it is one folder.
    assert "/my in/" in ran.stdout
    assert "/my out/" in ran.stdout
    told = next(
        line for line in ran.stdout.splitlines() if line.startswith("# The job then runs: ")
    )
    words = shlex.split(told.partition(": ")[2])
    assert words[:3] == ["mrcore", "run", "wc.py"]
    assert {gcs_place.uri("my in/"), gcs_place.uri("my out"), "a='b' \"c\""} <= set(words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["fly"], "No such command 'fly'; see `mrcore gce --help`."),
        (["up", "--wrokers=3", *WHERE], "No such option '--wrokers'. (Did you mean one of: "),
        (["up", "--workers=many", *WHERE], "--workers many is not a number"),
        (["up", "--workers=-1", *WHERE], "--workers -1 is not a number"),
        (["up", "--workers=08", *WHERE], "--workers 08 is not a number"),
        (["up", "--workers=1e9", *WHERE], "--workers 1e9 is not a number from 0 to 10000"),
        (["up", "--workers=10001", *WHERE], "--workers 10001 is not a number from 0 to 10000"),
        (["up", "--masters=x", *WHERE], "--masters x is not a number from 1 to 3"),
        (["up", "--masters=0", *WHERE], "--masters 0 is not a number from 1 to 3"),
        (["up", "--masters=4", *WHERE], "--masters 4 is not a number from 1 to 3"),
        (["up", *WHERE[:2], "--bucket=b", f"--name={'x' * 32}"], "at most 31 lower-case letters"),
        (["run", *WHERE], "what is to run? Write mrcore gce run PLUGIN INPUT... -o"),
        (["up", "--workers=0", *WHERE], "a cluster without workers runs no job"),
        (["up", "--disk-size=1", *WHERE], "--disk-size 1 is too small"),
        (["up", "--machine-type=big", *WHERE], "big is not a machine type"),
        (["up", "--idle-timeout=soon", *WHERE], "--idle-timeout soon is not a duration"),
        (["up", "--deadline=-5m", *WHERE], "--deadline -5m is not a duration"),
        (["up", "--max-run-duration=10s", *WHERE], "Compute Engine takes 30 seconds to 120 days"),
        (["up", "--max-cost=0", *WHERE], "--max-cost 0 is not a number of dollars above 0"),
        (["up", "--max-cost=-3", *WHERE], "--max-cost -3 is not a number of dollars"),
        (["up", "--vm-env=A=b@@c", *WHERE], "is not of the form KEY=VALUE"),
        (["up", "--vm-env=A='b", *WHERE], "is not of the form KEY=VALUE"),
        (["up", "--vm-env=A=b\\", *WHERE], "is not of the form KEY=VALUE"),
        (["up", "--vm-env=A;B=c", *WHERE], "is not of the form KEY=VALUE"),
        (["up", *WHERE, "--input", "--yes"], "Option '--input' requires an argument"),
        (["up", "--spot=yes", *WHERE], "Option '--spot' does not take a value"),
        (
            ["run", "wc.py", "gs://b/in/", "-o", "gs://b/out", "--keep=1"],
            "Option '--keep' does not take a value",
        ),
        (["up", "demo", "more", *WHERE], "Got unexpected extra argument (more)"),
        (["up", "other", *WHERE], "which cluster, demo or other?"),
        (["gc", "demo", *WHERE[:2]], "Got unexpected extra argument (demo)"),
        (["up", *WHERE[:3], "--bucket=gs://b/folder"], "--bucket gs://b/folder is not a bucket"),
        (["up", *WHERE[:3], "--bucket=My Bucket"], "--bucket My Bucket is not a bucket"),
        (["up", *WHERE, "--output=gs://b/mrcore/"], "lie one in the other"),
        (["scale", "03", *WHERE], "how many workers?"),
        (["up", "--workers", *WHERE[:0]], "Option '--workers' requires an argument"),
        (["up", "--workers=9", "--max-workers=3", *WHERE], "--max-workers is less than --workers"),
        (["up", "--min-workers=9", *WHERE], "--min-workers is more than --max-workers"),
        (["up", "--spot", "--on-demand", *WHERE], "give --spot or --on-demand, not both"),
        (["up", "--region=us-central1", *WHERE], "give --zone or --region, not both"),
        (
            ["up", "--project=p", "--name=demo", "--bucket=b", "--region=us-central1-a"],
            "Give it as --zone",
        ),
        (["up", "--connect=bus", *WHERE], "--connect bus is neither iap nor direct"),
        (["up", "--max-cost=much", *WHERE], "--max-cost much is not a number of dollars"),
        (["up", "--max-run-duration=soon", *WHERE], "--max-run-duration soon is not a duration"),
        (["up", "--requirements=none.txt", *WHERE], "--requirements none.txt is not a file"),
        (["up", "--vm-env=a b", *WHERE], "is not of the form KEY=VALUE"),
        (["up", *WHERE[:2], "--name=Demo", "--bucket=b"], "cannot name a cluster"),
        (["up", *WHERE[:3]], "Give --bucket BUCKET"),
        (["up", *WHERE[:3], "--home=b/x"], "is not a folder in a bucket"),
        (["up", *WHERE, "--wheels=wheels"], "--wheels wheels is not a folder in a bucket"),
        (["up", *WHERE, "--wheels=gs://b/mrcore/demo/w"], "lies in the cluster's home"),
        (["run", "wc.py", "in", *WHERE], "Give -o gs://BUCKET/OUT"),
        (["run", "wc.py", "in", "-o", "out", *WHERE], "is not a folder in a bucket"),
        (
            ["run", "wc.py", "-o", "gs://b/out", *WHERE],
            "Missing argument 'INPUT...'; see `mrcore gce run",
        ),
        (["preflight", "wc.py", *WHERE], "Missing argument 'INPUT...'; see `mrcore gce preflight"),
        (["run", "wc.py", "gs://b/in/", "-o", "gs://b/out", "--bogus", *WHERE], "No such option"),
        (
            ["run", "wc.py", "gs://b/in/", "-o", "gs://b/out", "--temp", "--json", *WHERE],
            "Option '--temp' requires an argument",
        ),
        (["scale", *WHERE], "how many workers?"),
        (["scale", "3", "--min-workers=4", *WHERE], "is not a number up to 3"),
        (["down", "--project=p"], "which cluster?"),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence(
    here: InProcessSite, words: list[str], sentence: str
) -> None:
    ran = here.gce(words[0], "--dry-run", *words[1:]) if len(words) > 1 else here.gce(*words)
    assert ran.returncode == 2, ran.stderr
    assert sentence in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith("mrcore gce: ")
    assert [call for call in here.calls() if not call.startswith("config list ")] == []


def test_a_wrong_option_ends_the_process_with_2(house: RunnerSite) -> None:
    ran = house.gce("up", "--wrokers=3", "--dry-run", *WHERE)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("mrcore gce: No such option '--wrokers'. (Did you mean")


def test_a_price_list_that_no_master_could_read_is_refused(here: InProcessSite) -> None:
    (here.folder / "prices.json").write_text("[]")
    extra = {"MRCORE_PRICES": str(here.folder / "prices.json")}
    ran = here.gce("up", "--dry-run", "--bucket=b", *WHERE, extra=extra)
    assert ran.returncode == 2, ran.stderr
    assert "prices.json cannot be read" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("errors", "sentence"),
    [
        ("ERROR: (gcloud.x) The zone 'z' does not have enough resources available", "(stockout)"),
        ("ERROR: (gcloud.x) ZONE_RESOURCE_POOL_EXHAUSTED: sorry", "(stockout)"),
        ("ERROR: (gcloud.x) Quota 'CPUS' exceeded.  Limit: 8.0 in region r.", "a quota is used up"),
        ("ERROR: (gcloud.x) SERVICE_DISABLED: it", "gcloud services enable compute.googleapis.com"),
        ("ERROR: (gcloud.x) This API method requires billing to be enabled", "no billing account"),
        ("ERROR: (gcloud.x) You do not currently have an active account", "Run: gcloud auth login"),
        ("ERROR: (gcloud.x) Required 'compute.a' permission for 'p'", "lacks a permission"),
        (
            "ERROR: (gcloud.x) Projects instance [p] not found: no",
            "the project p does not exist, or you may not see it",
        ),
        ("ERROR: (gcloud.x) Could not reach the server", "Google Cloud cannot be reached"),
        ("ERROR: (gcloud.x) something new", "failed: (gcloud.x) something new (all of it is in "),
    ],
)
def test_known_failures_of_gcloud_become_sentences(
    here: InProcessSite, errors: str, sentence: str
) -> None:
    here.says(errors)
    ran = here.gce("audit", "--project=p")
    assert ran.returncode == 1
    assert {sentence in line for line in ran.stderr.splitlines()} == {True}


def test_json_holds_whatever_a_sentence_has(here: InProcessSite) -> None:
    odd = 'a | b "c" \\d\x1b[1m\te'
    here.says(f"ERROR: (gcloud.x) {odd}")
    ran = here.gce("preflight", "--json", *WHERE)
    assert ran.returncode == 2, ran.stderr
    assert any(odd in finding["message"] for finding in json.loads(ran.stdout))


def test_what_gcloud_said_is_kept(here: InProcessSite) -> None:
    here.says("ERROR: (gcloud.x) something\nwith details")
    here.gce("audit", "--project=p")
    log = (here.folder / "home/.local/state/mrcore/gce/gcloud.log").read_text()
    assert "exit 1 after" in log
    assert "gcloud compute instances list" in log
    assert "with details" in log


def test_a_machine_without_gcloud_is_told_so(house: RunnerSite) -> None:
    bare = house.folder / "bare"
    bare.mkdir()
    for tool in ("bash", "env", "dirname"):
        found = next(Path(p) / tool for p in ("/usr/bin", "/bin") if (Path(p) / tool).exists())
        (bare / tool).symlink_to(found)
    ran = subprocess.run(
        [bare / "bash", ROOT / "scripts/gce", "up", *WHERE],
        env={"PATH": str(bare), "HOME": str(house.folder), "MRCORE_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "gcloud is not installed; see https://" in ran.stderr
