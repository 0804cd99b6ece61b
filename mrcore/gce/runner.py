"""State of one command of the runner: its options, its cluster and its tools."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import msgspec

from mrcore.errors import MrcoreError, UsageError
from mrcore.gce import record as records
from mrcore.gce.console import quoted
from mrcore.gce.crew import Crew
from mrcore.gce.gcloud import Gcloud, Plan, check_installed, is_installed
from mrcore.gce.interrupts import Interrupts
from mrcore.gce.inventory import Inventory, Row
from mrcore.gce.machines import master_name
from mrcore.gce.options import Options, check_home
from mrcore.gce.record import Record

_LOGIN: Final = "MRCORE_GCS_LOGIN"
_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?")


class Uses(msgspec.Struct, frozen=True):
    """Prefixes in buckets that the jobs of a cluster read and write."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    temps: tuple[str, ...] = ()


class Runner:
    """The state of one command."""

    def __init__(self, command: str, options: Options) -> None:
        # People who have logged in to gcloud need no second login for buckets.
        os.environ.setdefault(_LOGIN, "gcloud")
        self.command = command
        self.options = options
        self.plan = Plan() if options.dry_run else None
        self.interrupts = Interrupts()
        self.crew = Crew(dry=options.dry_run, check=self.interrupts.check)
        self.gcloud = Gcloud(plan=self.plan)
        self.inventory = Inventory(self.gcloud, self.crew)
        self.zone = ""
        self.region = ""
        self.name = ""
        self.home = ""
        self.uses = Uses()
        self.record: Record | None = None
        """The cluster as it was asked for, once it is ours."""
        self.keep = False
        """The cluster stays up after the run."""

    # -- where -----------------------------------------------------------------------------------

    def settle_place(self, *, with_log: bool = True) -> None:
        """Find out project, and zone or region: from options, environment or gcloud's settings."""
        if self.plan is None:
            check_installed()
        if with_log:
            self._open_log()
        options = self.options
        project = options.project or os.environ.get("CLOUDSDK_CORE_PROJECT", "")
        zone = options.zone or ("" if options.region else os.environ.get(_ZONE, ""))
        if not project or not (zone or options.region):
            settings = self._settings()
            project = project or settings[0]
            zone = zone or ("" if options.region else settings[1])
        if not project:
            raise UsageError(
                "the project is not known. Give --project, or run: gcloud config set project "
                "PROJECT"
            )
        self.zone, self.region = zone, options.region
        self.gcloud.project = project

    def _settings(self) -> tuple[str, str]:
        """Return what gcloud was configured with, in a dry run too: no cloud is asked."""
        if not is_installed():
            return "", ""
        asking = Gcloud()
        asking.log = self.gcloud.log
        try:
            found = self.crew.do(lambda: _read_settings(asking))
        except MrcoreError:
            # What is missing is asked for by its option.
            return "", ""
        return found

    def settle_name(self, word: str = "") -> None:
        """Find out the name of the cluster: from `--name`, or from the command's word."""
        name = self.options.name or word
        if word and name != word:
            raise UsageError(f"which cluster, {name} or {word}? Name one.")
        if not name:
            raise UsageError("which cluster? Give --name, or look for it with: mrcore gce audit")
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name} cannot name a cluster. Use at most 31 lower-case letters, digits and "
                "hyphens, with a letter first and no hyphen last."
            )
        self.name = name
        self._open_log(name)

    def settle_home(self) -> None:
        """Find out the home: from `--home`, `--bucket`, the cluster's VMs, or the output."""
        options, bucket = self.options, self.bucket
        at_output = ""
        if options.output:
            at_output = f"gs://{options.output.removeprefix('gs://').partition('/')[0]}/mrcore/"
            at_output += self.name
        if options.home:
            home = options.home.removesuffix("/")
        elif bucket:
            home = f"gs://{bucket}/mrcore/{self.name}"
        elif at_output and not options.name:
            # The name is the output's own: what was there before was made for it.
            home = at_output
        else:
            home = self.home_of_machines() or at_output
        if home:
            check_home(home)
        self.home = home

    def home_of_machines(self) -> str:
        """Return the home that the cluster was given, by its machines or else its bindings."""
        if self.plan is not None:
            return ""
        self.inventory.take_once(self.name)
        if self.inventory.home:
            return self.inventory.home
        return self.crew.do(lambda: self.inventory.home_by_bindings(self.name))

    def need_home(self, sentence: str) -> None:
        """Raise UsageError where nothing says where the home is."""
        if not self.home:
            raise UsageError(sentence)

    def _open_log(self, cluster: str = "") -> None:
        """Write every gcloud command down, by cluster; a dry run leaves nothing."""
        if self.plan is not None:
            return
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
        folder = Path(state) / "mrcore/gce" / cluster
        folder.mkdir(parents=True, exist_ok=True)
        self.gcloud.log = folder / "gcloud.log"

    # -- what ------------------------------------------------------------------------------------

    @property
    def dry(self) -> bool:
        """Whether commands are only printed."""
        return self.plan is not None

    @property
    def project(self) -> str:
        """The project."""
        return self.gcloud.project

    @property
    def bucket(self) -> str:
        """Bucket that was named, without `gs://`; empty where none was."""
        named = os.environ.get("MRCORE_GCE_BUCKET", "").removeprefix("gs://").removesuffix("/")
        return self.options.bucket or named

    @property
    def wanted_region(self) -> str:
        """Region of the VMs."""
        return self.region or self.zone.rpartition("-")[0]

    @property
    def location(self) -> str:
        """`zones/ZONE` or `regions/REGION`."""
        return f"regions/{self.region}" if self.region else f"zones/{self.zone}"

    @property
    def where(self) -> str:
        """Zone or region, for people."""
        return self.zone or self.region

    def cluster(self) -> Record:
        """Return the record of the cluster that this command has opened."""
        assert self.record is not None, "a record is opened before anything is made"
        return self.record

    def master_is_there(self) -> bool:
        """Return whether the cloud has the VM of a master."""
        return bool(self.master_rows())

    def master_runs(self) -> bool:
        """Return whether the VM of a master runs."""
        return any(row.state == "RUNNING" for row in self.master_rows())

    def master_rows(self) -> list[Row]:
        """Return the VMs of masters, as the last look has found them."""
        first = master_name(self.name)
        return [
            row
            for row in self.inventory.of("instance")
            if row.role == "master" or row.name == first
        ]

    def read_record(self) -> Record | None:
        """Return the record that lies in the home, or None."""
        return self.crew.do(lambda: records.read_record(self.home))

    def load_cluster(self, word: str = "") -> Record | None:
        """Settle which cluster is meant, and return its record; None in a dry run."""
        self.settle_place()
        self.settle_name(word)
        self.settle_home()
        return self.read_record() if self.home and not self.dry else None

    def removal_command(self) -> str:
        """Return the command that removes the cluster."""
        words = ["mrcore", "gce", "down", "--yes", f"--project={self.project}"]
        words.append(f"--name={self.name}")
        return quoted([*words, f"--home={self.home}"] if self.home else words)

    def note(self, text: str) -> None:
        """Add a line to the plan of a dry run."""
        if self.plan is not None:
            self.plan.note(text)


_ZONE: Final = "CLOUDSDK_COMPUTE_ZONE"


def _read_settings(gcloud: Gcloud) -> tuple[str, str]:
    found = gcloud.read(
        "Reading gcloud's settings", "config", "list", "--format=json(core.project,compute.zone)"
    )
    settings = found or {}
    project = (settings.get("core") or {}).get("project") or ""
    return project, (settings.get("compute") or {}).get("zone") or ""
