"""`mrcore.connect`: a client of a cluster that is up."""

from __future__ import annotations

import os

from mrcore.client.python_names import python_errors
from mrcore.cluster.client import Client, Modules


@python_errors()
def connect(
    master: str | None = None,
    *,
    state: str | os.PathLike[str] | None = None,
    credentials: str | os.PathLike[str] | None = None,
    token: str | None = None,
    show_prints: bool = True,
    modules: Modules = (),
) -> Client:
    """Return a client of a cluster that is up; the arguments are those of `Client`."""
    return Client(
        master,
        state=state,
        credentials=credentials,
        token=token,
        show_prints=show_prints,
        modules=modules,
    )
