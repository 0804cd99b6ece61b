"""Questions about the tokens of a cluster, over the connection of a client."""

from __future__ import annotations

from collections.abc import Sequence

from mrcore.client.client import MasterClient
from mrcore.client.connection import CALL_SECONDS, Connection
from mrcore.model.tokens import TokenView
from mrcore.rpc.convert_tokens import ROLES, token_view
from mrcore.rpc.masters import ADDRESSES_MAX
from mrcore.rpc.roles import Role
from mrcore.rpc.v1 import token_service_pb2 as pb
from mrcore.rpc.v1 import token_service_pb2_grpc


def list_tokens(connection: Connection) -> tuple[TokenView, ...]:
    """Return the tokens that are valid now."""
    request = pb.ListTokensRequest()
    answer = connection.call(lambda: _stub(connection).ListTokens(request, timeout=CALL_SECONDS))
    return tuple(map(token_view, answer.tokens))


def rotate_tokens(
    connection: Connection, roles: Sequence[Role], grace_seconds: float
) -> tuple[TokenView, ...]:
    """Replace the cluster's own tokens of some roles, or of all; return what is valid now.

    A call whose answer is lost may replace them twice, which does no harm.
    """
    request = pb.RotateTokensRequest(
        roles=[ROLES.to_proto[role] for role in roles], grace_seconds=grace_seconds
    )
    answer = connection.call(lambda: _stub(connection).RotateTokens(request, timeout=CALL_SECONDS))
    return tuple(map(token_view, answer.tokens))


def create_token(
    connection: Connection, role: Role, name: str, lifetime_seconds: float
) -> tuple[str, TokenView]:
    """Return a new token for somebody; a lifetime of 0 does not end."""
    request = pb.CreateTokenRequest(
        role=ROLES.to_proto[role], name=name, lifetime_seconds=lifetime_seconds
    )
    answer = connection.call(lambda: _stub(connection).CreateToken(request, timeout=CALL_SECONDS))
    return answer.token, token_view(answer.info)


def addresses_of_now(client: MasterClient) -> tuple[str, ...]:
    """Return the addresses of all masters, that of the leader first.

    Replies name the masters that the leader knew some seconds ago. It lists them anew when it is
    asked.
    """
    listed = [view.address for view in client.masters()]
    known = (client.credentials.address, *listed, *client.connection.masters)
    return tuple(dict.fromkeys(known))[:ADDRESSES_MAX]


def revoke_token(connection: Connection, name_or_id: str) -> TokenView:
    """End a token; raise UsageError for one that cannot be, and for a name that several have."""
    request = pb.RevokeTokenRequest(token_id=name_or_id)
    answer = connection.call(lambda: _stub(connection).RevokeToken(request, timeout=CALL_SECONDS))
    return token_view(answer.info)


def _stub(connection: Connection) -> token_service_pb2_grpc.TokenServiceStub:
    return connection.stub(token_service_pb2_grpc.TokenServiceStub)
