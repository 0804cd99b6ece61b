"""Calls while a worker and the master are killed: every result comes, once."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import mrcore
from tests.support.daemons import start_master, start_worker
from tests.support.master_site import free_port
from tests.support.waiting import wait_until

CALLS = 1_500


def test_a_worker_and_the_master_are_killed_while_calls_run(tmp_path: Path) -> None:
    state_uri, listen = f"file://{tmp_path}/state", f"127.0.0.1:{free_port()}"
    results: Counter[int] = Counter()
    problems: list[Exception] = []

    def square(number: int) -> int:
        return number * number

    def collect(cluster: mrcore.Client) -> None:
        try:
            results.update(cluster.map(square, range(CALLS), chunksize=1))
        except Exception as error:
            problems.append(error)
            raise

    def reached(count: int) -> bool:
        assert not problems, problems
        return results.total() >= count

    with (
        start_master(tmp_path, state_uri, listen=listen) as master,
        start_worker(tmp_path, state_uri, "--id", "w1") as first,
        start_worker(tmp_path, state_uri, "--id", "w2"),
        mrcore.connect(state=state_uri) as cluster,
    ):
        thread = threading.Thread(target=collect, args=(cluster,))
        thread.start()
        wait_until(lambda: reached(CALLS // 10), 60.0)
        first.kill()
        wait_until(lambda: reached(CALLS // 5), 60.0)
        master.kill()
        with (
            start_master(tmp_path, state_uri, listen=listen),
            start_worker(tmp_path, state_uri, "--id", "w3"),
        ):
            wait_until(lambda: reached(CALLS), 90.0)
            thread.join()
            assert results == {number * number: 1 for number in range(CALLS)}
            after = cluster.call(square, 12).result(timeout=30)
            assert after == 144
