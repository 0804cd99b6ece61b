"""A real worker process against a master of which the test speaks every word."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from mrcore.rpc.convert_task import attempt_from_proto
from mrcore.rpc.v1 import failure_pb2
from mrcore.rpc.v1 import worker_service_pb2 as pb
from mrcore.util.proc import descendants
from tests.support.scripted_master import (
    FakeMaster,
    Worker,
    attempt,
    conversation,
    is_there,
    start_worker,
)

Held = pb.HeldAttempt


@conversation("--slots", "2", "--memory", "300MiB", "--id", "me")
async def test_the_first_words(master: FakeMaster, worker: Worker) -> None:
    first = await master.call()
    said = first.request
    assert (said.cluster_id, said.worker_id, said.slots, said.park) == ("", "me", 2, False)
    assert said.memory_bytes == 600 << 20
    assert said.process_id == worker.process.pid
    assert said.host == socket.gethostname()
    assert said.versions.python == f"3.{sys.version_info.minor}"
    assert said.store_nonce == ""
    master.answer(first)
    second = await master.until(lambda call: bool(call.request.store_nonce))
    assert (second.request.cluster_id, second.request.store_nonce) == ("c1", "n1")
    assert second.request.park
    assert second.request.sequence > said.sequence
    assert second.request.session == said.session


@conversation()
async def test_an_attempt_is_run_and_told_until_it_is_accounted(
    master: FakeMaster, worker: Worker
) -> None:
    wanted = master.assignment(0, "a\nb\n")
    master.answer(await master.greet(), wanted)
    done = await master.until(lambda call: call.states() == {0: Held.STATE_FINISHED}, wanted)
    (held,) = done.request.held
    assert attempt_from_proto(held.attempt) == attempt(0)
    assert (held.output.records_in, held.output.records_out) == (2, 2)
    assert master.read(held.output.object.uri) == "a\t1\nb\t1\n"
    assert done.request.known_jobs == ["job"]
    master.answer(done, wanted)
    again = await master.call()
    assert again.states() == {0: Held.STATE_FINISHED}
    master.answer(again)
    assert (await master.call()).states() == {}


@conversation()
async def test_news_cuts_a_parked_call_short(master: FakeMaster, worker: Worker) -> None:
    wanted = master.assignment(0, "wait\n")
    master.answer(await master.greet(), wanted)
    await worker.begun()
    parked = await master.call()
    assert 0 in parked.states()
    worker.release()
    news = await master.call()
    assert news.states() == {0: Held.STATE_FINISHED}
    assert parked.response.cancelled()
    assert news.request.sequence == parked.request.sequence + 1


@conversation()
async def test_what_is_omitted_is_killed_and_the_slot_goes_on(
    master: FakeMaster, worker: Worker
) -> None:
    hang, fine = master.assignment(0, "hang\n"), master.assignment(1, "fine\n")
    master.answer(await master.greet(), hang)
    await worker.begun()
    running = await master.until(lambda call: call.states() == {0: Held.STATE_RUNNING}, hang)
    assert running.request.held[0].elapsed_seconds > 0.0
    master.answer(running, fine)
    done = await master.until(lambda call: call.states() == {1: Held.STATE_FINISHED}, fine)
    assert done.request.held[0].HasField("output")


@conversation("--grace", "200s")
async def test_sigterm_hands_back_what_waits_and_finishes_what_runs(
    master: FakeMaster, worker: Worker
) -> None:
    both = master.assignment(0, "wait\n"), master.assignment(1, "fine\n")
    master.answer(await master.greet(), *both)
    await worker.begun()
    worker.process.terminate()
    draining = await master.until(lambda call: call.request.draining, *both)
    assert draining.states() == {0: Held.STATE_RUNNING, 1: Held.STATE_FINISHED}
    assert draining.failure(1).kind == failure_pb2.Failure.KIND_PREEMPTED
    assert "SIGTERM" in draining.failure(1).message
    master.answer(draining, both[0], drain=True)
    worker.release()
    done = await master.until(lambda call: call.states() == {0: Held.STATE_FINISHED}, both[0])
    assert done.request.held[0].HasField("output")
    master.answer(done, drain=True)
    master.answer(await master.call(), drain=True, leave=True)
    code, said = await worker.end()
    assert code == 0
    assert "leaving: drained" in said
    assert worker.scratch() == []


async def is_handed_back(master: FakeMaster, worker: Worker, text: str) -> None:
    """See the one attempt, at this text, come back from a worker that was asked to end."""
    one = master.assignment(0, text)
    master.answer(await master.greet(), one)
    await worker.begun()
    worker.process.terminate()
    back = await master.until(lambda call: call.states() == {0: Held.STATE_FINISHED}, one)
    assert back.failure(0).kind == failure_pb2.Failure.KIND_PREEMPTED
    master.answer(back, leave=True)
    assert (await worker.end())[0] == 0


@conversation("--grace", "3.5s")
async def test_what_does_not_finish_in_time_is_handed_back(
    master: FakeMaster, worker: Worker
) -> None:
    await is_handed_back(master, worker, "hang\n")


@conversation("--grace", "200s")
async def test_what_turns_out_to_be_too_slow_is_handed_back_at_once(
    master: FakeMaster, worker: Worker
) -> None:
    # It takes minutes, as it says when it has gone on a bit.
    await is_handed_back(master, worker, "slow\n" * 20_000)


@conversation()
async def test_a_second_signal_ends_it_at_once(master: FakeMaster, worker: Worker) -> None:
    hang = master.assignment(0, "hang\n")
    master.answer(await master.greet(), hang)
    await worker.begun()
    started = descendants(worker.process.pid)
    assert len(started) == 2, "the child and the fork server"
    worker.process.send_signal(signal.SIGINT)
    await master.until(lambda call: call.request.draining, hang)
    worker.process.send_signal(signal.SIGINT)
    assert (await worker.end())[0] == 130
    assert worker.scratch() == []
    assert not any(map(is_there, started))


@conversation()
async def test_it_leaves_when_its_lifeline_is_cut(master: FakeMaster, worker: Worker) -> None:
    hang = master.assignment(0, "hang\n")
    master.answer(await master.greet(), hang)
    await worker.begun()
    os.close(worker.lifeline)
    code, said = await worker.end()
    assert (code, worker.scratch()) == (0, [])
    assert "the process that started it is gone" in said


@conversation()
async def test_a_restarted_master_is_found_and_told_everything(
    master: FakeMaster, worker: Worker
) -> None:
    hang = master.assignment(0, "hang\n")
    master.answer(await master.greet(), hang)
    await worker.begun()
    await master.stop()
    master.epoch = 2
    await master.start()
    call = await master.until(lambda call: call.states() == {0: Held.STATE_RUNNING}, hang)
    assert call.request.epoch == 1
    master.answer(call, hang)
    assert (await master.call()).request.epoch == 2


@conversation()
async def test_credentials_are_read_again_when_the_token_is_refused(
    master: FakeMaster, worker: Worker
) -> None:
    master.answer(await master.greet())
    call = await master.call()
    master.token = "new"
    master.answer(call)
    path = worker.folder / "credentials"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "token": "new"}))
    assert (await master.call()).request.cluster_id == "c1"


@conversation()
async def test_a_superseded_process_says_so_and_leaves(master: FakeMaster, worker: Worker) -> None:
    call = await master.greet()
    call.response.set_result(pb.SynchronizeResponse(exceed_session=call.request.session + 1))
    code, said = await worker.end()
    assert code == 1
    assert "another process has taken this worker's id" in said


@conversation()
async def test_another_session_is_tried_when_the_clock_was_set_back(
    master: FakeMaster, worker: Worker
) -> None:
    call = await master.call()
    session = call.request.session
    call.response.set_result(pb.SynchronizeResponse(exceed_session=session + 1000))
    assert (await master.call()).request.session == session + 1001


def test_a_killed_worker_leaves_nothing_that_the_next_does_not_remove(tmp_path: Path) -> None:
    async def run() -> None:
        master = FakeMaster(tmp_path)
        await master.start()
        hang = master.assignment(0, "hang\n")
        async with asyncio.timeout(50):
            async with start_worker(tmp_path) as first:
                master.answer(await master.greet(), hang)
                await first.begun()
                started = descendants(first.process.pid)
                assert len(started) == 2, "the child and the fork server"
                exit_descriptors = [os.pidfd_open(process_id) for process_id in started]
                first.process.kill()
                for descriptor in exit_descriptors:
                    died = asyncio.Event()
                    asyncio.get_running_loop().add_reader(descriptor, died.set)
                    await died.wait()
                    asyncio.get_running_loop().remove_reader(descriptor)
                    os.close(descriptor)
            (left,) = first.scratch()
            async with start_worker(tmp_path) as second:
                await master.until(lambda call: call.request.process_id == second.process.pid)
                (own,) = second.scratch()
                assert own != left
        await master.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no cluster is named; add --master HOST:PORT, --state URI or --credentials FILE"),
        (["--master", "x:1", "--slots", "0"], "'0' is neither auto nor a number from 1 to 1024"),
        (["--master", "x:1", "--memory", "much"], "'much' is not a size"),
        (["--master", "x:1", "--memory", "64MiB"], "a slot needs at least 128MiB"),
        (["--master", "x:1", "--slots", "1024"], "Use fewer slots, or set --memory"),
        (["--state", "ftp://x"], "'ftp://x' has no scheme that is known here"),
    ],
)
def test_bad_arguments(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from mrcore.worker.main import main

    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err
