"""Resources as people write them."""

from __future__ import annotations

import pytest

from mrcore.errors import UsageError
from mrcore.model.job import ANY_WORKER, Resources
from mrcore.model.resources import parse_resources, resources_of, show_resources

FULL = Resources(cpus=1.5, memory_bytes=4 << 30, labels=("gpu", "zone=b"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cpu=2", Resources(cpus=2.0)),
        ("cpus=0.5", Resources(cpus=0.5)),
        ("label=gpu", Resources(labels=("gpu",))),
        ("label=zone=b, memory=4GiB, cpu=1.5, label=gpu, labels=gpu", FULL),
    ],
)
def test_resources_are_written_as_parts(text: str, found: Resources) -> None:
    assert parse_resources(text) == found
    assert parse_resources(show_resources(found)) == found
    assert resources_of(text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is not a resource; write cpu=N, memory=SIZE or label=NAME"),
        ("cores=2", "'cores=2' is not a resource"),
        ("cpu", "'cpu' is not a resource"),
        ("cpu=two", "'two' is not a number of CPUs"),
        ("cpu=0", "'0' is not a number of CPUs"),
        ("memory=lots", "'lots' is not a size"),
        ("label=a b", "'a b' is not a label"),
    ],
)
def test_what_is_not_a_resource_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        parse_resources(text)


def test_resources_of_a_dict() -> None:
    assert resources_of(None) == ANY_WORKER
    assert resources_of({}) == ANY_WORKER
    assert resources_of({"cpu": 1.5, "memory": "4GiB", "labels": {"zone=b", "gpu"}}) == FULL
    assert resources_of({"cpus": 1.5, "memory": 4 << 30, "label": ["gpu", "zone=b"]}) == FULL
    assert resources_of({"labels": "gpu"}) == Resources(labels=("gpu",))
    assert resources_of(FULL) is FULL


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, 'resources is 3. Give a dict such as {"cpu": 2'),
        ({"gpus": 1}, "'gpus' is not a resource. Use cpu, memory, labels."),
        ({"cpu": "many"}, "cpu is 'many'. Give a number of CPUs"),
        ({"cpu": -1}, "cpu is -1. Give a number of CPUs"),
        ({"cpu": float("nan")}, "cpu is nan. Give a number of CPUs"),
        ({"cpu": True}, "cpu is True. Give a number of CPUs"),
        ({"memory": 1.5}, "memory is 1.5. Give bytes"),
        ({"memory": "much"}, "memory: 'much' is not a size"),
        ({"labels": 7}, "labels is 7. Give a set of texts."),
        ({"labels": [7]}, "7 is not a label. Give a text"),
        ({"labels": ["-x"]}, "'-x' is not a label. Use at most 63"),
        ({"labels": [f"l{n}" for n in range(101)]}, "labels has 101 labels. Give at most 100."),
        ("cpu=two", "resources: 'two' is not a number of CPUs"),
    ],
)
def test_a_wrong_dict_is_refused(given: object, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        resources_of(given)
    assert said in str(caught.value)
