"""The load of a soak: jobs, calls and datasets, each of whose results is checked."""

from __future__ import annotations

import contextlib
import operator
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import mrcore
from mrcore.cluster.client import Client

PLUGIN = """
def map(key, value):
    for word in value.split():
        yield word, 1

def reduce(key, values):
    return sum(values)

combine = reduce
"""
FILES = 4
ATTEMPTS = 100
"""Processes are killed: that must not use up what a call or a task may try."""


class WrongError(Exception):
    """A result that is not what a sequential program gives."""


class Load:
    """Users of one cluster, each in a thread of its own, until `stop`."""

    def __init__(self, state: str, folder: Path, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []
        self._state = state
        self._folder = folder
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._plugin = folder / "words.py"
        self._plugin.write_text(PLUGIN)
        rng = Random(seed)
        self._expected: Counter[str] = Counter()
        for number in range(FILES):
            words = [f"w{int(rng.paretovariate(0.8)) % 997}" for _ in range(4_000)]
            self._expected.update(words)
            lines = (" ".join(words[at : at + 10]) for at in range(0, len(words), 10))
            (folder / f"in-{number}.txt").write_text("\n".join(lines) + "\n")
        users = (self._job, self._calls, self._dataset)
        self._threads = [
            threading.Thread(target=self._use, args=(number, user, Random(seed + number)))
            for number, user in enumerate(users)
        ]

    def start(self) -> None:
        """Let all users begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let all users finish what they do."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _use(self, number: int, user: Callable[[Client, str, Random], None], rng: Random) -> None:
        name = user.__name__.strip("_")
        with mrcore.connect(state=self._state, show_prints=False) as client:
            turn = 0
            while not self._stopping.is_set():
                turn += 1
                try:
                    user(client, f"{number}-{turn}", rng)
                except Exception as error:  # noqa: BLE001 - each is a problem of the report
                    with self._lock:
                        self.failed.append(f"{name} {turn}: {type(error).__name__}: {error}")
                else:
                    with self._lock:
                        self.done[name] += 1

    def _job(self, client: Client, name: str, rng: Random) -> None:
        output = self._folder / f"out-{name}"
        inputs = [str(self._folder / f"in-{number}.txt") for number in range(FILES)]
        future = client.submit(
            self._plugin,
            inputs=inputs,
            output=output,
            reduces=rng.randint(1, 3),
            max_attempts=ATTEMPTS,
            lease=5.0,
        )
        found = dict(line.split("\t") for line in future.result().lines())
        check(found == {word: str(count) for word, count in self._expected.items()}, name)
        left = [one.name for one in output.iterdir() if not one.name.startswith("part-")]
        # The claim and the temporaries go just after the end of the job was written down.
        check(set(left) <= {"_SUCCESS", "_claim", "_tmp"}, f"{name}: {left}")
        with contextlib.suppress(OSError):
            shutil.rmtree(output)

    def _calls(self, client: Client, name: str, rng: Random) -> None:
        add = rng.randint(0, 1_000)
        numbers = range(rng.randint(1, 200))
        values = list(client.map(lambda x: x * x + add, numbers, max_attempts=ATTEMPTS))
        check(values == [x * x + add for x in numbers], name)
        first = client.call(operator.add, add, 1, max_attempts=ATTEMPTS)
        second = client.call(operator.mul, first, 2, max_attempts=ATTEMPTS)
        check(second.result() == 2 * (add + 1), name)

    def _dataset(self, client: Client, name: str, rng: Random) -> None:
        modulus = rng.randint(2, 9)
        items = list(range(rng.randint(10, 3_000)))
        pairs = (
            mrcore.from_items(items)
            .map(lambda x: (x % modulus, x))
            .reduce_by_key(operator.add)
            .collect(on=client, max_attempts=ATTEMPTS, lease=5.0)
        )
        expected: Counter[int] = Counter()
        for item in items:
            expected[item % modulus] += item
        check(dict(pairs) == dict(expected), name)


def check(is_right: bool, name: str) -> None:
    """Raise WrongError for a wrong result."""
    if not is_right:
        raise WrongError(name)
