"""Roles, the Ops Agent's configuration, and the files for containers: checked without a service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mrcore.daemon.logs import FIELDS
from mrcore.gce import access, iam
from tests.support.gce_records import make_record
from tests.support.repository import ROOT

DEPLOY = ROOT / "deploy"
ROLES = sorted((DEPLOY / "iam").glob("*.yaml"))


def load(path: Path) -> dict[str, Any]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("path", ROLES, ids=lambda path: path.stem)
def test_a_role_is_as_iam_takes_it(path: Path) -> None:
    role = load(path)
    assert set(role) == {"title", "description", "stage", "includedPermissions"}
    assert role["stage"] == "GA"
    permissions = role["includedPermissions"]
    assert permissions == sorted(set(permissions))
    assert all(re.fullmatch(r"[a-z]+\.[a-zA-Z]+\.[a-zA-Z]+", one) for one in permissions)


def test_there_is_a_file_for_every_role_that_is_used() -> None:
    assert {path.stem for path in ROLES} == set(access.ROLES)
    for path in ROLES:
        assert access.role_permissions(path.stem) == load(path)["includedPermissions"]


def test_every_role_that_a_cluster_binds_is_made_before() -> None:
    record = make_record("gs://b/mrcore/demo", inputs=("gs://b/in/",), outputs=("gs://b/out/",))
    bound = {binding.role.rpartition("/")[2] for binding in iam.bindings_of(record)}
    assert bound == set(access.ROLES)


def test_user_code_can_make_no_machine_and_read_no_secret() -> None:
    for path in ROLES:
        for permission in load(path)["includedPermissions"]:
            assert not re.search(r"create|setIamPolicy|actAs|getAccessToken", permission) or (
                permission.startswith(("storage.objects.", "logging.", "monitoring."))
            ), f"{path.stem}: {permission}"
    reader = load(DEPLOY / "iam/mrcoreObjectReader.yaml")["includedPermissions"]
    assert not [one for one in reader if not one.endswith((".get", ".list"))]


OPS_AGENT: dict[str, dict[str, dict[str, type]]] = {
    "logging.receivers": {"systemd_journald": {}},
    "logging.processors": {
        "exclude_logs": {"match_any": list},
        "parse_json": {"field": str, "time_key": str, "time_format": str},
        "modify_fields": {"fields": dict},
    },
    "metrics.receivers": {"prometheus": {"config": dict}},
}
"""Keys that the agent knows by its documentation; one other key spoils the whole file."""


def test_the_ops_agent_knows_every_key() -> None:
    config = load(DEPLOY / "ops-agent/ops-agent.yaml")
    assert set(config) == {"logging", "metrics"}
    for kind, part in config.items():
        assert set(part) <= {"receivers", "processors", "service"}
        assert set(part["service"]) == {"pipelines"}
        for pipeline in part["service"]["pipelines"].values():
            assert set(pipeline) <= {"receivers", "processors"}
        for section in set(part) - {"service"}:
            for component in part[section].values():
                known = OPS_AGENT[f"{kind}.{section}"][component.pop("type")]
                assert {key: type(value) for key, value in component.items()} == known
    fields = load(DEPLOY / "ops-agent/ops-agent.yaml")["logging"]["processors"]["mrcore_fields"]
    for name, how in fields["fields"].items():
        assert re.fullmatch(r'severity|(labels|jsonPayload)\.("[\w/.-]+"|\w+)', name)
        assert list(how) in (["move_from"], ["copy_from"])


def test_the_ops_agent_uses_what_it_defines() -> None:
    config = load(DEPLOY / "ops-agent/ops-agent.yaml")
    for kind in ("logging", "metrics"):
        part = config[kind]
        for pipeline in part["service"]["pipelines"].values():
            assert set(pipeline["receivers"]) <= set(part["receivers"])
            assert set(pipeline.get("processors", ())) <= set(part.get("processors", ()))
        # Names that begin so are the agent's own.
        assert not [name for name in part["receivers"] if name.startswith("lib:")]


def test_the_ops_agent_reads_the_fields_that_we_write() -> None:
    processors = load(DEPLOY / "ops-agent/ops-agent.yaml")["logging"]["processors"]
    fields = processors["mrcore_fields"]["fields"]
    sources = {name for how in fields.values() for name in how.values()}
    ours = {f"jsonPayload.{name}" for name in (*FIELDS, "severity", "message", "time")}
    assert sources <= ours
    assert processors["mrcore_json"]["time_key"] == "time"


def test_the_ops_agent_scrapes_where_the_units_serve() -> None:
    receiver = load(DEPLOY / "ops-agent/ops-agent.yaml")["metrics"]["receivers"][
        "mrcore_prometheus"
    ]
    (scrape,) = receiver["config"]["scrape_configs"]
    (target,) = scrape["static_configs"][0]["targets"]
    master = (DEPLOY / "systemd/mrcore-master.service").read_text()
    worker = (DEPLOY / "systemd/mrcore-worker@.service").read_text()
    assert f"MRCORE_METRICS={target}" in master
    assert f"MRCORE_METRICS={target[:-1]}%i" in worker, "the only worker of a VM is number 0"


def dockerfile() -> list[tuple[str, str]]:
    """Return instruction and arguments of each step."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "docker/Dockerfile").read_text(), flags=re.MULTILINE)
    steps = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(step.split(maxsplit=1)[0], step.split(maxsplit=1)[1]) for step in steps]


def test_the_image_is_built_in_two_stages_and_runs_as_nobody_special() -> None:
    steps = dockerfile()
    bases = [arguments for name, arguments in steps if name == "FROM"]
    assert len(bases) == 2
    assert all(re.search(r":.*\d|:\$\{PYTHON\}-slim-", base) for base in bases), "no floating tag"
    last = max(i for i, step in enumerate(steps) if step[0] == "FROM")
    final = steps[last:]
    (user,) = (arguments for name, arguments in final if name == "USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user), "a number, so that a pod can check it"
    names = [name for name, _ in steps]
    assert "ADD" not in names
    assert names[-2:] == ["ENTRYPOINT", "CMD"]
    assert all(args.startswith("[") for name, args in steps if name in ("ENTRYPOINT", "CMD"))
    for name, arguments in steps:
        if name == "RUN":
            assert "sudo" not in arguments
            assert "pip install" not in arguments or "--no-cache-dir --constraint" in arguments


def test_the_image_gets_what_the_package_is_made_of_and_no_more() -> None:
    root = DEPLOY.parent
    copied = set()
    for name, arguments in dockerfile():
        if name == "COPY" and "--from" not in arguments:
            copied |= set(arguments.split()[:-1])
    assert all((root / one).exists() for one in copied)
    ignore = (DEPLOY / "docker/Dockerfile.dockerignore").read_text().split()
    assert {one.removeprefix("!") for one in ignore if one.startswith("!")} == copied
    project = (root / "pyproject.toml").read_text()
    packages = re.search(r"^packages = \[(.*?)\]", project, re.MULTILINE | re.DOTALL)
    assert packages is not None
    roots = {name.partition(".")[0] for name in re.findall(r'"([\w.]+)"', packages[1])}
    assert roots <= copied


def test_the_compose_file_names_one_master_and_any_number_of_workers() -> None:
    from mrcore.master.main import _parser as master_options
    from mrcore.worker.main import _parser as worker_options

    compose = load(DEPLOY / "docker/compose.yaml")
    services = compose["services"]
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(volume.partition(":")[0] in compose["volumes"] for volume in service["volumes"])
        assert "ports" not in service, "nothing is opened to the host's network"
    context = DEPLOY / "docker" / services["master"]["build"]["context"]
    assert (context / services["master"]["build"]["dockerfile"]).samefile(
        DEPLOY / "docker/Dockerfile"
    )
    parsers = {"master": master_options, "worker": worker_options}
    for name, parser in parsers.items():
        words = [_default(word) for word in services[name]["command"]]
        assert words[0] == name
        assert parser().parse_args(words[1:]).state.removeprefix("file://") == "/data/state"
    assert "container_name" not in services["worker"], "it could not be scaled"
    scratch = worker_options().parse_args(words[1:]).scratch
    mounted = [volume.partition(":")[2] for volume in services["worker"]["volumes"]]
    assert str(scratch) in mounted, "a tmpfs would take it out of the limit of memory"
    made = [arguments for name, arguments in dockerfile() if name == "VOLUME"]
    assert made == [" ".join(mounted)]


def _default(word: str) -> str:
    """Put in what compose puts in where nothing is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word)
