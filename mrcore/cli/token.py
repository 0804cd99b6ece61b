"""`mrcore token`: list, replace, give and revoke the tokens of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from mrcore.cli import base, places, tables
from mrcore.cli.help import Group
from mrcore.errors import UsageError
from mrcore.model.tokens import TokenView
from mrcore.rpc.roles import Role
from mrcore.util.units import show_duration

_ROLE = click.Choice([role.value for role in Role])


class TokenGroup(Group):
    """The commands, each with the whole first sentence of its help."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, of which none is cut."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, made.get_short_help_str(500)) for name, made in self.commands.items()]
            )


@click.group(cls=TokenGroup, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List, replace, give and revoke the tokens of a cluster.

    The cluster has a token for users and one for workers. Who can read the state finds them there.
    """


def _subcommand(**settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Add a command to the group."""

    def decorate(body: Callable[..., Any]) -> click.Command:
        made = base.command(**settings)(body)
        command.add_command(made)
        return made

    return decorate


@_subcommand(name="list")
@base.cluster_options
@base.json_option
def list_command(
    master: str | None, state: str | None, credentials: str | None, as_json: bool
) -> None:
    """List the tokens that are valid, without their secrets."""
    from mrcore.client.tokens import list_tokens

    with places.connected(master, state, credentials) as client:
        _show(list_tokens(client.connection), as_json)


@_subcommand()
@click.option("--role", type=_ROLE, help="Replace the token of this role only.")
@click.option(
    "--grace",
    type=base.DURATION,
    default="10m",
    show_default=True,
    metavar="TIME",
    help="Time for which the former tokens stay valid; 0s ends them at once.",
)
@base.cluster_options
@base.json_option
def rotate(
    role: str | None,
    grace: float,
    master: str | None,
    state: str | None,
    credentials: str | None,
    as_json: bool,
) -> None:
    """Replace the cluster's own tokens, without a restart.

    Workers, clients and masters that can read the state take up the new ones by themselves. Tokens
    that were given with `mrcore token create` stay.
    """
    from mrcore.client.tokens import rotate_tokens

    roles = [Role(role)] if role else []
    with places.connected(master, state, credentials) as client:
        found = rotate_tokens(client.connection, roles, grace)
    _show(found, as_json)
    if not as_json:
        named = f"the token of a {role} is" if role else "the tokens of users and workers are"
        end = f"end in {show_duration(grace)}" if grace else "have ended"
        base.note(f"{named} new; the former ones {end}")


@_subcommand()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--name", required=True, metavar="NAME", help="Name for lists, such as a person's.")
@click.option(
    "--role", type=_ROLE, default="user", show_default=True, help="Who the token lets in."
)
@click.option(
    "--expires",
    type=base.DURATION,
    default="30d",
    show_default=True,
    metavar="TIME",
    help="Time after which the token ends; 0s for never.",
)
@base.cluster_options
@base.json_option
def create(
    file: Path,
    name: str,
    role: str,
    expires: float,
    master: str | None,
    state: str | None,
    credentials: str | None,
    as_json: bool,
) -> None:
    """Make a token for somebody who cannot read the state, and write FILE for --credentials.

    FILE has the addresses of all masters, certificates and token, and is readable by you alone. The
    cluster keeps a hash of the token and cannot show it again.
    """
    from mrcore.client.tokens import addresses_of_now, create_token
    from mrcore.rpc.cluster import save_credentials

    if file.exists():
        raise UsageError(f"The file {file} exists. Name one that does not.")
    with places.connected(master, state, credentials) as client:
        masters = addresses_of_now(client)
        own = msgspec.structs.replace(client.credentials, token="", state_uri="")
        # First, since a token that cannot be written down would be valid and in nobody's hands.
        save_credentials(own, file, "Name a FILE in one that can.")
        try:
            token, made = create_token(client.connection, Role(role), name, expires)
            own = msgspec.structs.replace(
                client.credentials,
                token=token,
                state_uri="",
                masters=masters if len(masters) > 1 else (),
            )
            save_credentials(own, file)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
    _show([made], as_json)


@_subcommand()
@click.argument("token", metavar="NAME|ID")
@base.cluster_options
@base.json_option
def revoke(
    token: str, master: str | None, state: str | None, credentials: str | None, as_json: bool
) -> None:
    """End a token that was given by name, or that has been replaced.

    A name that several tokens have is refused: give the id of one.
    """
    from mrcore.client.tokens import revoke_token

    with places.connected(master, state, credentials) as client:
        ended = revoke_token(client.connection, token)
    if as_json:
        base.print_json(msgspec.to_builtins(ended))
    else:
        named = f" of {ended.name}" if ended.name else ""
        click.echo(f"The token {ended.token_id}{named} is revoked")


def _show(found: Sequence[TokenView], as_json: bool) -> None:
    if as_json:
        base.print_json([msgspec.to_builtins(one) for one in found])
        return
    rows = [
        (
            one.token_id,
            one.role,
            one.name or ("(cluster)" if one.current else "(replaced)"),
            tables.moment(one.created_at),
            tables.moment(one.expires_at),
        )
        for one in found
    ]
    tables.print_table(("ID", "ROLE", "NAME", "CREATED", "EXPIRES"), rows)
