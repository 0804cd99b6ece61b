"""`mrcore gce`: make, use and delete VMs on Compute Engine. The work is done in `mrcore/gce`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from mrcore.cli import base, job_options
from mrcore.cli.gce_options import (
    COMMON_NAMES,
    JOB_WORDS,
    GceCommand,
    cluster_options,
    common_options,
    job_cluster_options,
    job_parameters,
    optional,
)
from mrcore.cli.help import Group
from mrcore.errors import MrcoreError
from mrcore.gce.console import say
from mrcore.gce.failures import StepsFailedError
from mrcore.gce.options import Options, take_options

if TYPE_CHECKING:
    from mrcore.gce.job import Job

_COMMAND_OF_SSH = "mrcore.gce.command_of_ssh"


class GceGroup(Group):
    """The commands, with the runner's name before each sentence."""

    def invoke(self, ctx: click.Context) -> int:
        """Run the command; return the exit code."""
        try:
            return int(super().invoke(ctx) or 0)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.ClickException as error:
            say(base.usage_sentence(error))
            return 2
        except StepsFailedError as error:
            return error.exit_code
        except MrcoreError as error:
            if base.debugging():
                raise
            say(str(error))
            return error.exit_code
        except (KeyboardInterrupt, click.Abort):
            say("interrupted.")
            # Whatever still runs in threads is not waited for.
            os._exit(base.EXIT_INTERRUPTED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which people need them."""
        return list(self.commands)


@click.group(
    cls=GceGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def command() -> None:
    """Make, use and delete VMs on Google Compute Engine, by the gcloud of this machine.

    \b
      mrcore gce preflight PLUGIN INPUT... -o OUT   find what would go wrong
      mrcore gce run PLUGIN INPUT... -o OUT         a cluster, a job on it, and nothing is left
      mrcore gce run … --dry-run                    what it would cost, and every command

    `mrcore gce COMMAND --help` has the options of a command; docs/gce.md the whole story. From a
    checkout it is also scripts/gce.
    """


def _gce_command(**settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Add a command to the group, with the options that all have."""

    def decorate(body: Callable[..., Any]) -> click.Command:
        made = base.command(**{"cls": GceCommand, **settings})(common_options(body))
        # What is a command's own stands first in its help.
        made.params.sort(key=lambda parameter: parameter.name in COMMON_NAMES)
        command.add_command(made)
        return made

    return decorate


def _job_of(given: dict[str, Any]) -> Job | None:
    """Take the job out of what was given; return None where there is none."""
    from mrcore.gce.job import Job

    output = given["output"] or ""
    if given["plugin"] and not given["inputs"]:
        raise click.UsageError("Missing argument 'INPUT...'")
    job = None
    if given["plugin"]:
        words = click.get_current_context().meta[JOB_WORDS]
        job = Job(job_options.take_request(given), tuple(words))
    else:
        for parameter in job_parameters():
            given.pop(parameter)
    given["output"] = output
    return job


def _options(given: dict[str, Any]) -> Options:
    return take_options(given)


@_gce_command(short_help="A cluster for one job, removed at its end.")
@job_cluster_options
@click.option("--keep", is_flag=True, help="Leave the cluster up at the end.")
@click.option("--receipt", metavar="FILE", default="", help="Write the output's receipt there.")
def run(keep: bool, receipt: str, **given: Any) -> int:
    """Make a cluster, run a job on it, remove the cluster: nothing is left but the output.

    The cluster's name comes from the output unless --name is given, so the same command again goes
    on after an interruption. A cluster that `mrcore gce up` has made stays up.

    Ctrl-C cancels the job and removes the cluster; a second one stops at once, and says what is
    left. Exit codes: those of `mrcore run`, or 1 when something could not be made or removed.
    """
    from mrcore.gce.commands.run import run as act

    if not given["plugin"]:
        raise click.UsageError(
            "what is to run? Write mrcore gce run PLUGIN INPUT... -o gs://BUCKET/OUT"
        )
    if not given["output"]:
        raise click.UsageError("where is the output to go? Give -o gs://BUCKET/OUT")
    job = _job_of(given)
    assert job is not None, "there is a plugin"
    return act(_options(given), job, keep=keep, receipt=receipt)


optional(run, ("plugin", "inputs", "output"))


@_gce_command(short_help="Make a cluster, and leave it up.")
@click.argument("name_word", metavar="[NAME]", default="")
@cluster_options
def up(name_word: str, **given: Any) -> int:
    """Make a cluster, and leave it up; the same command again finishes what was interrupted.

    Exit codes: 0 it is up, 1 something failed, 2 it cannot work as given, 3 the master does not
    answer.
    """
    from mrcore.gce.commands.up import up as act

    return act(_options(given), name_word)


@_gce_command(short_help="Let a cluster have up to N workers.")
@click.argument("number", metavar="N", default="")
@click.argument("name_word", metavar="[NAME]", default="")
@click.option("--min-workers", metavar="M", default="", help="Workers that stay without work.")
def scale(number: str, name_word: str, min_workers: str, **given: Any) -> int:
    """Let a cluster have up to N workers; its master makes and releases them by the work there is.

    It takes note within seconds.
    """
    from mrcore.gce.commands.scale import scale as act

    return act(_options(given), number, name_word, min_workers)


@_gce_command(short_help="Parts, workers and jobs of a cluster.")
@click.argument("name_word", metavar="[NAME]", default="")
def status(name_word: str, **given: Any) -> int:
    """Show what a cluster consists of, what its groups could not do, its workers and jobs.

    Exit codes: 0 its master runs, 1 it does not.
    """
    from mrcore.gce.commands.status import status as act

    return act(_options(given), name_word)


class SshCommand(GceCommand):
    """A command that keeps what stands behind `--`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before `--`."""
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND_OF_SSH] = args[end + 1 :]
        return super().parse_args(ctx, args[:end])


@_gce_command(
    cls=SshCommand,
    options_metavar="[OPTIONS] [-- COMMAND...]",
    short_help="A shell on the master, or on another VM.",
)
@click.argument("vm", metavar="[VM]", default="")
def ssh(vm: str, **given: Any) -> int:
    """Open a shell on the master, or on another VM, through Google's tunnel.

    What follows `--` is run there instead. Logs there: journalctl -u 'mrcore-*'. It is gcloud's own
    ssh: the first use makes a key.
    """
    from mrcore.gce.commands.ssh import ssh as act

    return act(_options(given), vm, click.get_current_context().meta[_COMMAND_OF_SSH])


@_gce_command(short_help="Boot and daemon logs of a VM.")
@click.argument("vm", metavar="[VM]", default="")
@click.option("--serial", is_flag=True, help="Read the serial port of a VM that runs.")
def logs(vm: str, serial: bool, **given: Any) -> int:
    """Print how a VM booted, and what its daemons said at the end; or which VMs have logs.

    They lie in the cluster's home, also when the VM is gone. Logs of user code: mrcore logs JOB.
    """
    from mrcore.gce.commands.logs import logs as act

    return act(_options(given), vm, serial=serial)


@_gce_command(short_help="Remove a cluster and all that it has left.")
@click.argument("name_word", metavar="[NAME]", default="")
def down(name_word: str, **given: Any) -> int:
    """Remove a cluster: VMs, groups, templates, firewall rules, bindings, and objects of its home.

    Outputs of jobs stay. May be repeated; removes what is left of a cluster that was half made. The
    home is found out from the VMs while there are any; afterwards name its bucket.

    Exit codes: 0 nothing is left, 1 something could not be removed.
    """
    from mrcore.gce.commands.down import down as act

    return act(_options(given), name_word)


@_gce_command(short_help="Remove every cluster that has expired.")
@click.option("--all", "everybody", is_flag=True, help="Also the clusters of others.")
def gc(everybody: bool, **given: Any) -> int:
    """Remove your clusters of the project that have expired, with all that they have left.

    A cluster expires an hour after Compute Engine has deleted its last VM (--max-run-duration); its
    bindings are void from then on. What does not say when it expires stays: `mrcore gce audit`
    shows it, and `mrcore gce down --name NAME` removes it. With --bucket homes are looked for there
    too. --dry-run looks, and prints the commands.

    Exit codes: 0 nothing of yours that has expired is left, 1 something could not be removed.
    """
    from mrcore.gce.commands.gc import gc as act

    return act(_options(given), everybody=everybody)


@_gce_command(short_help="All that mrcore has in the project.")
def audit(**given: Any) -> int:
    """List all that mrcore has in the project, with bindings, homes and baked images.

    With --bucket homes are looked for there too. Verdicts: `live` and `kept` may stay, and
    `mrcore gce gc` removes what is `expired`. An `orphan` does not say when it expires, and goes
    with `mrcore gce down --name NAME`. Accounts and roles cost nothing and are not listed.

    Exit codes: 0 all of it belongs to clusters that have not expired (with --name: nothing is
    left), 1 something should not be there.
    """
    from mrcore.gce.commands.audit import audit as act

    return act(_options(given))


@_gce_command(short_help="What a cluster costs, while it is up.")
@click.argument("name_word", metavar="[NAME]", default="")
def cost(name_word: str, **given: Any) -> int:
    """Show what a cluster has cost so far, by what its master has counted.

    Useful work, boot, idle time, work lost to preemption, and storage operations.
    """
    from mrcore.gce.commands.cost import cost as act

    return act(_options(given), name_word)


@_gce_command(short_help="Bake an image with everything installed.")
@cluster_options
@click.option("--family", metavar="F", default="", help="Family of the image.  [mrcore]")
def image(family: str, **given: Any) -> int:
    """Bake an image with Python, mrcore and the user's packages, so that VMs start faster.

    A VM installs everything, switches itself off, and its disk becomes the image. Then: mrcore gce
    run … --image family/mrcore. An image costs about $0.05 a GB and month until it is deleted:
    gcloud compute images delete NAME.
    """
    from mrcore.gce.commands.image import image as act

    return act(_options(given), family)


@_gce_command(short_help="Find what would go wrong before anything is made.")
@job_cluster_options
@click.option("--keep", is_flag=True, hidden=True, help="Taken as `run` does, without effect.")
@click.option("--receipt", hidden=True, default="", help="Taken as `run` does, without effect.")
def preflight(keep: bool, receipt: str, **given: Any) -> int:
    """Find what would go wrong before anything is made; nothing is changed.

    Looks at gcloud, login, APIs, permissions, quotas, bucket, network, Python and, with a job, at
    its plugin, inputs and output.

    Exit codes: 0 it would work, 2 something has to be put right first.
    """
    from mrcore.gce.commands.preflight import preflight as act

    del keep, receipt
    job = _job_of(given)
    return act(_options(given), job)


optional(preflight, ("plugin", "inputs", "output"))
