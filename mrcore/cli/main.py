"""Entry point of the command line: find a command, run it, and print errors as sentences.

Command modules are imported on use, which keeps `mrcore --help` fast.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence

import click

from mrcore import __version__
from mrcore.cli import streams
from mrcore.cli.base import EXIT_INTERRUPTED, debugging, print_json, usage_sentence
from mrcore.cli.help import Group
from mrcore.errors import MrcoreError

COMMANDS = {
    "run": "Run a job and wait for it, on this machine or on a cluster (--master).",
    "submit": "Start a job on a cluster and print its id.",
    "jobs": "List jobs, newest first.",
    "show": "Show a job's progress, counters, failures and tasks.",
    "watch": "Follow a job until it ends.",
    "cancel": "Stop a job.",
    "logs": "Print the output of your code, by attempt.",
    "resume": "Go on with a job that failed or was cancelled.",
    "replay": "Run one task of a job here, under a debugger if you like.",
    "chaos": "Rehearse disasters with a job on this machine.",
    "workers": "List the workers of a cluster.",
    "masters": "List the masters of a cluster: the leader and those that stand by.",
    "token": "List, replace, give and revoke the tokens of a cluster.",
    "drain": "Ask a worker to finish its tasks and leave.",
    "verify": "Check an output against its receipt.",
    "cat": "Print an output as text.",
    "gc": "Remove leftovers of ended jobs.",
    "gce": "Create, use and delete VMs on Compute Engine (see `mrcore gce --help`).",
    "master": "Start a master (see `mrcore master --help`).",
    "worker": "Start a worker (see `mrcore worker --help`).",
    "completion": "Print a shell completion script.",
}


class _ReaderGoneError(Exception):
    """A BrokenPipeError under another name: click itself would end the process with code 1."""


class LazyGroup(Group):
    """A group of commands that are imported from `mrcore.cli.<name>` on use."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGoneError from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, the most useful first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; return None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"mrcore.cli.{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mrcore")
def cli() -> None:
    """Run MapReduce jobs written as plain Python.

    \b
      mrcore run wc.py books/*.txt -o out     run a job on this machine
      mrcore cat out                          print its output
      mrcore COMMAND --help                   show the options of a command
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the documented code."""
    streams.open_closed_streams()
    streams.let_stderr_last()
    code = run_command_line(list(sys.argv[1:] if arguments is None else arguments))
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # The exit code is settled: a late Ctrl-C only ends the process sooner.
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(code))
    sys.exit(code)


def run_command_line(arguments: list[str]) -> int:
    """Run the command line; return 0, 1 job failed, 2 usage, 3 unreachable or 130 interrupted."""
    try:
        result = cli.main(arguments, prog_name="mrcore", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        sentence = usage_sentence(error)
        if arguments[:1] == ["run"] and "--json" in arguments:
            _say_as_json(sentence)
        _say(sentence)
        return 2
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted.")
        return EXIT_INTERRUPTED
    except (BrokenPipeError, _ReaderGoneError):
        # Silently, as programs end when their reader closes the pipe.
        streams.forget(sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except MrcoreError as error:
        if debugging():
            raise
        _say(str(error))
        return error.exit_code
    except OSError as error:
        if debugging():
            raise
        place = f": {error.filename}" if error.filename else ""
        _say(f"the operating system refused, {error.strerror or error}{place}.")
        return 1
    except Exception as error:
        if debugging():
            raise
        _say(
            f"internal error, {type(error).__name__}: {error}; please report it, with what "
            "`MRCORE_DEBUG=1` in the environment shows."
        )
        return 1
    return result if isinstance(result, int) else 0


def _say(sentence: str) -> None:
    click.echo(f"mrcore: {sentence}", err=True)


def _say_as_json(sentence: str) -> None:
    """Print the JSON object of a job whose options could not be parsed."""
    from mrcore.model.snapshots import broken_json

    print_json(broken_json(None, sentence, None))
