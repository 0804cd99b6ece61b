"""Fixtures of the contract tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.gcs_http import Client
from tests.gcsserver import GcsServer


@pytest.fixture
def client() -> Iterator[Client]:
    with GcsServer() as server:
        client = Client(server)
        server.store.create_bucket("bkt")
        yield client
        client.close()
