"""The command line's entry: finds the command, runs it, and turns every error into a sentence.

A command's module is imported only when it is run, so that `mrcore --help` stays fast.
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
from mrcore.cli.base import EXIT_INTERRUPTED, debugging, print_json
from mrcore.errors import MrcoreError

COMMANDS = {
    "run": "Run a job and wait for it: embedded here, or on a cluster (--master).",
    "submit": "Start a job on a cluster, print its id and return.",
    "jobs": "List jobs, newest first.",
    "show": "Show a job: phases, counters, failures, tasks.",
    "watch": "Follow a job until it has ended.",
    "cancel": "Stop a job.",
    "logs": "Print what user code printed, by attempt.",
    "workers": "List the workers of a cluster.",
    "drain": "Ask a worker to finish what it has and leave.",
    "verify": "Check an output against its receipt.",
    "cat": "Print an output as text.",
    "gc": "Remove what ended jobs have left behind.",
    "gce": "Make, use and delete VMs on Compute Engine (see `mrcore gce --help`).",
    "master": "Start a master (see `mrcore master --help`).",
    "worker": "Start a worker (see `mrcore worker --help`).",
    "completion": "Print a shell completion script.",
}


class _ReaderGoneError(Exception):
    """A BrokenPipeError that click does not take for one, which it would end with exit code 1."""


class LazyGroup(click.Group):
    """A group whose commands lie in `mrcore.cli.<name>` and are imported when used."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGoneError from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which people need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or return None for a name that is none."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"mrcore.cli.{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mrcore")
def cli() -> None:
    """Run MapReduce jobs written as plain Python.

    \b
      mrcore run wc.py books/*.txt -o out     on this machine
      mrcore cat out                          look at the result
      mrcore COMMAND --help                   the options of a command
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the documented code."""
    streams.open_closed_streams()
    streams.let_stderr_last()
    code = run_command_line(list(sys.argv[1:] if arguments is None else arguments))
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # How it went is decided: a late Ctrl-C only makes the end come sooner.
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
        sentence = _usage_sentence(error)
        if arguments[:1] == ["run"] and "--json" in arguments:
            _say_as_json(sentence)
        _say(sentence)
        return 2
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted.")
        return EXIT_INTERRUPTED
    except (BrokenPipeError, _ReaderGoneError):
        # In silence, as programs end whose reader has seen enough.
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


def _usage_sentence(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    place = context.command_path if isinstance(context, click.Context) else "mrcore"
    return f"{message}{' See' if message.endswith('?') else '; see'} `{place} --help`."


def _say(sentence: str) -> None:
    click.echo(f"mrcore: {sentence}", err=True)


def _say_as_json(sentence: str) -> None:
    """Print the object of a job that never came to be: its options could not be read."""
    from mrcore.model.snapshots import broken_json

    print_json(broken_json(None, sentence, None))
