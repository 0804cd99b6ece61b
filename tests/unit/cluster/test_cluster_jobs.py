"""Futures of jobs that need no cluster."""

from __future__ import annotations

from mrcore.client.client import MasterClient
from mrcore.cluster.jobs import Followers
from mrcore.model.job import JobState
from mrcore.model.snapshots import JobView
from mrcore.rpc.cluster import Credentials
from tests.support.waiting import wait_until


def test_the_future_of_a_job_that_comes_after_the_client_was_closed() -> None:
    master = MasterClient(Credentials(address="127.0.0.1:1", token="t"))
    followers = Followers(master)
    followers.close()
    master.close()
    running = JobView(job_id="j", name="j", state=JobState.RUNNING, output_uri="")
    future = followers.follow(running)
    wait_until(future.cancelled)
