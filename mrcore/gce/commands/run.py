"""`mrcore gce run`: make a cluster, run a job on it, remove the cluster.

The first Ctrl-C, SIGTERM or SIGHUP cancels the job and removes the cluster; the second stops at
once. However a run ends, `_finish` leaves nothing but what was asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
from pathlib import Path

from mrcore.cost.report import read_books
from mrcore.cost.text import cost_brief
from mrcore.errors import MrcoreError, StorageError, UsageError
from mrcore.gce import create, leave, preflight, price
from mrcore.gce import record as records
from mrcore.gce.connect import Connection
from mrcore.gce.console import quoted, say
from mrcore.gce.crew import LOOK_SECONDS, start_process
from mrcore.gce.failures import StepsFailedError
from mrcore.gce.findings import errors_of
from mrcore.gce.interrupts import INTERRUPTED, Stopped
from mrcore.gce.job import Job, JobFacts
from mrcore.gce.mrcore_command import mrcore_words
from mrcore.gce.options import Options
from mrcore.gce.remove import remove_cluster
from mrcore.gce.runner import Runner
from mrcore.storage.registry import storage_for
from mrcore.util.clock import SYSTEM

NO_MASTER = 3


def run(options: Options, job: Job, *, keep: bool = False, receipt: str = "") -> int:
    """Run a job on a cluster that is made for it, or is there; return the exit code."""
    runner = Runner("run", options)
    runner.keep = keep
    runner.settle_place()
    runner.settle_name(options.name or name_of_run(options.output))
    if not options.output.startswith("gs://") or not options.output[5:].partition("/")[2]:
        raise UsageError(
            f"-o {options.output} is not a folder in a bucket. The VMs write to gs://BUCKET/OUT."
        )
    if options.name and not runner.dry:
        # A cluster that has been named may be there, and needs fewer checks then.
        runner.inventory.take_once(runner.name)
    runner.settle_home()
    if runner.plan is not None:
        return _plan(runner, job)
    return _Run(runner, job, receipt).run()


def name_of_run(output: str) -> str:
    """Return the name of the cluster for an output: a command that is repeated finds it."""
    return f"run-{hashlib.sha256(output.removesuffix('/').encode()).hexdigest()[:8]}"


def _plan(runner: Runner, job: Job) -> int:
    """Print what would happen: what would stop it, the price, and then the commands."""
    assert runner.plan is not None
    preflight.check_options(runner)
    findings, facts = preflight.collect_findings(runner, job)
    facts = facts or JobFacts()
    sys.stderr.write("".join(f"{traceback}\n" for traceback in facts.tracebacks))
    runner.uses = preflight.uses_of_job(facts, runner)
    create.open_cluster(runner)
    stoppers = errors_of(findings)
    runner.plan.summarize(
        [
            *(f"this would stop it: {sentence}" for sentence in stoppers),
            f"This would make {create.describe(runner.cluster())}, and run the job.",
            *price.price_of_job(runner, facts),
        ]
    )
    create.make_cluster(runner)
    connection = Connection(runner)
    connection.report_group_errors()
    words = ["mrcore", "run", *job.words, *connection.options]
    runner.note(f"The job then runs: {quoted(words)}")
    record = runner.cluster()
    if not record.kept:
        remove_cluster(runner, record, manage_iam=record.manage_iam)
    runner.plan.show()
    return 2 if stoppers else 0


class _Run:
    """One run, from its checks to its end."""

    def __init__(self, runner: Runner, job: Job, receipt: str) -> None:
        self._runner = runner
        self._job = job
        self._receipt = receipt
        self._facts = JobFacts()
        self._connection: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._cost = ""
        self._start = SYSTEM.monotonic()

    def run(self) -> int:
        """Return the exit code."""
        runner = self._runner
        runner.interrupts.install(self._stop_at_once)
        try:
            self._facts = preflight.check_before(runner, self._job) or JobFacts()
        except StepsFailedError:
            return 2
        except Stopped:
            return INTERRUPTED
        runner.uses = preflight.uses_of_job(self._facts, runner)
        if brief := price.price_of_job_briefly(runner, self._facts):
            say(brief)
        try:
            code = self._use_cluster()
        except BaseException:
            self._finish(1)
            raise
        return self._finish(code)

    def _use_cluster(self) -> int:
        """Make the cluster and run the job; return the exit code, whatever happens."""
        try:
            create.open_cluster(self._runner)
            create.make_cluster(self._runner)
            self._connection = Connection(self._runner)
            try:
                self._connection.await_master()
            except MrcoreError as error:
                say(str(error))
                return NO_MASTER
            return self._run_job(self._connection)
        except Stopped:
            return INTERRUPTED
        except StepsFailedError as error:
            return error.exit_code
        except MrcoreError as error:
            say(str(error))
            return error.exit_code

    # -- the job ---------------------------------------------------------------------------------

    def _run_job(self, connection: Connection) -> int:
        runner, facts = self._runner, self._facts
        words = ["run", *self._job.words]
        if facts.running:
            say(f"the cluster runs this job already, as {facts.running}.")
            words = ["watch", facts.running]
        words += ["--json"] if runner.options.as_json else []
        self._process = start_process(mrcore_words([*words, *connection.options]))
        # The job is cancelled by one signal, which this process passes on.
        runner.interrupts.call_at_first(self._process.terminate)
        if runner.interrupts.count:  # it came while the job was being started
            self._process.terminate()
        while (code := self._process.poll()) is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(LOOK_SECONDS)
        ended = SYSTEM.wall()
        runner.interrupts.stop_at_once()
        if code == 0:
            self._take_receipt()
        self._cost = runner.crew.do(lambda: _cost_of(connection.state, ended))
        return INTERRUPTED if runner.interrupts.count else code if code >= 0 else 128 - code

    def _take_receipt(self) -> None:
        output = self._facts.output
        receipt = f"{output}/_SUCCESS"
        if not self._receipt:
            say(
                f"the receipt is {receipt}. Check the output against it with: mrcore verify "
                f"{output}"
            )
            return
        try:
            content = self._runner.crew.do(lambda: storage_for(receipt).read(receipt))
            Path(self._receipt).write_bytes(content)
        except (StorageError, OSError) as error:
            say(str(error))
            return
        say(f"the receipt is in {self._receipt}.")

    # -- the end ---------------------------------------------------------------------------------

    def _stop_at_once(self) -> None:
        """Report what may be left; called in a signal handler, just before the process ends."""
        say(f"stopped. VMs may be left; this removes them: {self._runner.removal_command()}")
        if self._process is not None:
            self._process.kill()
        if self._connection is not None:
            self._connection.abandon()

    def _finish(self, code: int) -> int:
        """Remove the cluster, unless somebody wants it to stay; return the exit code."""
        runner = self._runner
        runner.interrupts.finish("removing the cluster; once more, and it stays as it is then.")
        # What is still being made must be there before it can be removed.
        runner.crew.settle()
        if runner.record is None and runner.interrupts.count:
            with contextlib.suppress(MrcoreError):
                runner.record = records.read_record(runner.home)
        if runner.record is None:
            # Refused, or stopped, before the cluster was ours: another's must not go.
            return code
        self._report_cost()
        name, removal = runner.name, runner.removal_command()
        if runner.record.kept:
            say(f"the cluster {name} stays up; remove it with: {removal}")
            return self._close(code)
        if others := self._other_jobs():
            say(
                f"the cluster {name} stays up, since it runs another job, {others}: that job's run "
                f"removes it, or: {removal}"
            )
            return self._close(code)
        if code != 0:
            self._save_logs()
        say("removing the cluster …")
        self._close(code)
        if not remove_cluster(runner, runner.record, manage_iam=runner.record.manage_iam):
            say(f"the cluster could not be removed altogether; run again: {removal}")
            return code or 1
        end = f"; the output is {self._facts.output}." if code == 0 else "."
        say(f"nothing is left of the cluster {name}{end}")
        return code

    def _close(self, code: int) -> int:
        if self._connection is not None:
            self._connection.close()
        return code

    def _other_jobs(self) -> str:
        """Return the jobs of a run that was given the same `--name`; ended ones lose nothing."""
        connection = self._connection
        if connection is None:
            return ""
        output = self._facts.output
        return ", ".join(self._runner.crew.do(lambda: connection.other_jobs(output)))

    def _save_logs(self) -> None:
        log, home = self._runner.gcloud.log, self._runner.home
        if log is None:
            return
        folder = log.parent / "logs"
        try:
            saved = self._runner.crew.do(lambda: leave.save_logs(home, folder))
        except (MrcoreError, OSError):
            return
        if saved:
            say(f"the logs of the cluster are in {folder}.")

    def _report_cost(self) -> None:
        """Report what all of it has cost, where that was booked."""
        if self._cost:
            seconds = int(SYSTEM.monotonic() - self._start)
            say(f"{self._cost} after {seconds // 60} min {seconds % 60} s.")


def _cost_of(state: str, ended: float) -> str:
    """Return what was spent; the master books it within some seconds of the end of the job."""
    try:
        return cost_brief(read_books(state, booked_after=ended).spend.total)
    except MrcoreError:
        return ""
