"""A cluster as an executor of the standard library, and as a back end of joblib."""

from __future__ import annotations

import importlib
import operator
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent import futures
from types import ModuleType
from typing import Any

import pytest

import mrcore

pytestmark = pytest.mark.xdist_group("executor")  # one cluster for all


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mrcore.LocalCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("home")))
        with mrcore.LocalCluster(workers=2) as found:
            yield found


def named(*arguments: Any, **keywords: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return arguments, keywords


def test_submit_passes_every_argument_on(cluster: mrcore.LocalCluster) -> None:
    with cluster.executor() as executor:
        assert isinstance(executor, futures.Executor)
        assert executor.submit(pow, 2, 8).result() == 256
        given = executor.submit(named, 1, self=2, fn=3, retries=4, timeout=5)
        assert given.result() == ((1,), {"self": 2, "fn": 3, "retries": 4, "timeout": 5})
        with pytest.raises(TypeError):
            executor.submit()  # type: ignore[call-arg]


def test_map_of_an_executor(cluster: mrcore.LocalCluster) -> None:
    with cluster.executor() as executor:
        assert list(executor.map(pow, range(10), range(10))) == list(map(pow, range(10), range(10)))
        some = executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5], chunksize=3)
        assert (next(some), next(some)) == ((0, 1), (0, 1))
        with pytest.raises(ZeroDivisionError):
            next(some)
        with pytest.raises(ValueError, match="chunksize"):
            executor.map(pow, [1], [1], chunksize=0)
        # All are submitted at once, whether anybody draws the results or not.
        made = [executor.submit(operator.neg, number) for number in range(3)]
        assert [one.result() for one in made] == [0, -1, -2]


def test_shutdown_leaves_the_cluster_up(cluster: mrcore.LocalCluster) -> None:
    executor = cluster.executor()
    waited = [executor.submit(time.sleep, 0.05) for _ in range(4)]
    executor.shutdown()
    assert all(one.done() for one in waited)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(pow, 2, 3)
    assert cluster.call(pow, 2, 3).result(60) == 8

    executor = cluster.executor()
    made = [executor.submit(time.sleep, 0.2) for _ in range(20)]
    executor.shutdown(cancel_futures=True)
    assert all(one.done() for one in made)
    assert any(one.cancelled() for one in made)


def test_no_reference_stays(cluster: mrcore.LocalCluster) -> None:
    class Own:
        def method(self) -> None: ...

    gone = threading.Event()
    own = Own()
    watch = weakref.ref(own, lambda _: gone.set())
    with cluster.executor() as executor:
        executor.submit(own.method)
        del own
        assert gone.wait(30)
    assert watch() is None


def own_tests() -> ModuleType:
    """Return Python's tests of executors: those of this Python, else Debian's for its version."""
    import test

    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    test.__path__.append(f"/usr/lib/python{minor}/test")
    try:
        return importlib.import_module("test.test_concurrent_futures")
    except ModuleNotFoundError:
        pytest.skip(f"Python's own tests are not installed (Debian: libpython{minor}-testsuite)")
    finally:
        test.__path__.pop()


def test_pythons_own_tests_of_executors(cluster: mrcore.LocalCluster) -> None:
    import unittest

    own: Any = own_tests()

    class Mixin:
        """Makes the executor that each test uses."""

        worker_count = 2

        def setUp(self) -> None:
            self.executor = cluster.executor()

        def tearDown(self) -> None:
            self.executor.shutdown(wait=True)

    class Submit(Mixin, own.ExecutorTest, unittest.TestCase):  # type: ignore[misc]
        # The number of workers is that of the cluster.
        test_max_workers_negative = None
        # It needs an event of multiprocessing, which cannot travel.
        test_free_reference = None

    class Wait(Mixin, own.WaitTests, unittest.TestCase):  # type: ignore[misc]
        pass

    class AsCompleted(Mixin, own.AsCompletedTests, unittest.TestCase):  # type: ignore[misc]
        pass

    loader = unittest.TestLoader()
    cases = [
        case for kind in (Submit, Wait, AsCompleted) for case in loader.loadTestsFromTestCase(kind)
    ]
    assert len(cases) > 15
    cluster.scale(workers=4)

    def run(case: unittest.TestCase) -> list[str]:
        found = unittest.TestResult()
        case.run(found)
        return [trace for _, trace in (*found.errors, *found.failures)]

    # They mostly sleep, for up to six seconds.
    with futures.ThreadPoolExecutor(4) as threads:
        assert [trace for traces in threads.map(run, cases) for trace in traces] == []


def test_a_grid_search_of_scikit_learn(cluster: mrcore.LocalCluster) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    import joblib
    from sklearn.model_selection import GridSearchCV
    from sklearn.tree import DecisionTreeClassifier

    from mrcore.cluster.joblib_backend import ClusterBackend, register

    backend = ClusterBackend(cluster)
    cluster.scale(workers=2)
    cluster.scale(workers=1)
    assert [backend.effective_n_jobs(jobs) for jobs in (None, 1, 3)] == [1, 1, 3]
    assert backend.effective_n_jobs(-1) == 2  # with one joblib would not use the cluster
    cluster.scale(workers=3)
    assert [backend.effective_n_jobs(jobs) for jobs in (-1, -2, -9)] == [3, 2, 2]
    register()  # a cluster that is made after joblib was imported does this itself
    cluster.scale(workers=1)  # each process that fits takes seconds to import the library
    x, y = datasets.load_iris(return_X_y=True)

    def search() -> GridSearchCV:
        grid = {"max_depth": [1, 2, 3]}
        return GridSearchCV(DecisionTreeClassifier(random_state=1), grid, cv=2, n_jobs=2)

    here = search().set_params(n_jobs=1).fit(x, y)
    before = len(cluster.jobs())
    with joblib.parallel_backend("mrcore", client=cluster):
        there = search().fit(x, y)
    assert there.best_params_ == here.best_params_
    assert list(there.cv_results_["mean_test_score"]) == list(here.cv_results_["mean_test_score"])
    assert len(cluster.jobs()) >= before
    with joblib.parallel_backend("mrcore"):
        assert joblib.Parallel()(joblib.delayed(pow)(2, n) for n in range(20)) == [
            2**n for n in range(20)
        ]
        with pytest.raises(ZeroDivisionError):
            joblib.Parallel()(joblib.delayed(operator.truediv)(1, n) for n in range(3))
