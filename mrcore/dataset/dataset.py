"""`Dataset`: a lazy pipeline over files or items, which runs as one job."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from mrcore.dataset import folds
from mrcore.dataset.actions import Actions
from mrcore.dataset.lowers import AsKeys, AsPairs, AsValues, ByKey, CountedKeys, Lower, WithSide
from mrcore.dataset.nodes import ONE_TASK, Narrow, Node, Shuffle, Side, Union
from mrcore.dataset.pipeline import Batches, Each, Lift, Operation, PartSums, Pick, Sample, name_of
from mrcore.dataset.reducing import (
    Beginning,
    Cogrouping,
    Joining,
    Largest,
    OfGroups,
    folding,
    gathered,
    passed,
)
from mrcore.errors import UsageError
from mrcore.plugin import aggregates
from mrcore.plugin.functions import Wrapper
from mrcore.util.number_order import Descending, ascending
from mrcore.util.texts import printable, text_of

T = TypeVar("T")
_PAIRS: Final = AsPairs()


class Dataset(Actions):
    """Elements that are read or made when an action asks for them.

    An operation returns a new dataset and runs nothing. Those with `by_key` in their names, joins
    and groups take elements that are pairs: tuples of a key and a value. A key is None, a bool,
    int, float, str, bytes, or a tuple of such.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        """Last operation, with those before it; the planner makes stages of them."""

    def __iter__(self) -> Any:
        raise UsageError(
            "A Dataset is not a list. Call collect() for a list of its elements, or take(n)."
        )

    def __len__(self) -> int:
        raise UsageError("A Dataset does not know its length. Call count().")

    def __bool__(self) -> bool:
        return True

    # Each element by itself

    def map(self, function: Callable[[Any], Any]) -> Dataset:
        """Return what the function makes of each element."""
        return self._each("map", function)

    def flat_map(self, function: Callable[[Any], Iterable[Any]]) -> Dataset:
        """Return all elements of what the function makes of each element."""
        return self._each("flat_map", function)

    def filter(self, function: Callable[[Any], object]) -> Dataset:
        """Return the elements for which the function returns something true."""
        return self._each("filter", function)

    def key_by(self, function: Callable[[Any], Any]) -> Dataset:
        """Return pairs of what the function returns for each element, and the element."""
        return self._each("key_by", function)

    def map_values(self, function: Callable[[Any], Any]) -> Dataset:
        """Return the pairs with what the function makes of their values."""
        return self._each("map_values", function)

    def flat_map_values(self, function: Callable[[Any], Iterable[Any]]) -> Dataset:
        """Return a pair for each element of what the function makes of a value."""
        return self._each("flat_map_values", function)

    def keys(self) -> Dataset:
        """Return the keys of pairs."""
        return _narrow(self, Pick("keys", 0))

    def values(self) -> Dataset:
        """Return the values of pairs."""
        return _narrow(self, Pick("values", 1))

    def map_batches(self, function: Callable[[Any], Any]) -> Dataset:
        """Return the rows of what the function makes of Arrow record batches, as dicts.

        The elements before it are dicts, or the batches of `read_batches`. The function returns a
        RecordBatch, a Table or a dict of columns.
        """
        _check_function("map_batches", function)
        of_batches = getattr(self.node, "lift", None) is Lift.BATCH
        return _narrow(self, Batches(function, of_batches=of_batches))

    def sample(self, fraction: float, *, seed: int = 0) -> Dataset:
        """Return a random share of the elements: the same for the same seed and input."""
        is_number = isinstance(fraction, int | float) and not isinstance(fraction, bool)
        if not is_number or not 0 <= fraction <= 1:
            raise UsageError(f"fraction is {fraction!r}. Give a number from 0 to 1.")
        return _narrow(self, Sample(fraction, seed))

    def union(self, *others: Dataset) -> Dataset:
        """Return the elements of this dataset and of others, with all their repeats."""
        for other in others:
            _check_dataset("union", other)
        return Dataset(Union((self.node, *(other.node for other in others))))

    # By key

    def reduce_by_key(self, function: Callable[[Any, Any], Any]) -> Dataset:
        """Return a pair for each key, its values folded by an associative function of two.

        `operator.add`, `min` and `max` of whole numbers are computed over columns.
        """
        _check_function("reduce_by_key", function)
        reduce = folding(function)
        return _shuffle(self, f"reduce_by_key({name_of(function)})", reduce=reduce, combine=reduce)

    def aggregate_by_key(
        self,
        zero: Any,
        add: Callable[[Any, Any], Any],
        merge: Callable[[Any, Any], Any],
    ) -> Dataset:
        """Return a pair for each key, its values gathered in an accumulator.

        `add` takes an accumulator and a value, `merge` two accumulators. Both return one, which may
        be the first argument, changed. `zero` is the empty accumulator.
        """
        _check_function("aggregate_by_key", add)
        _check_function("aggregate_by_key", merge)
        begun = _narrow(self, Each("map_values", Beginning(zero, add)))
        reduce = folding(merge)
        title = f"aggregate_by_key({name_of(add)}, {name_of(merge)})"
        return _shuffle(begun, title, reduce=reduce, combine=reduce)

    def group_by_key(self, *, sort_key: Callable[[Any], Any] | None = None) -> Dataset:
        """Return a pair for each key, with the list of its values.

        The values are in the order of the input, or of what `sort_key` returns for them. All values
        of a key have to fit in memory; `reduce_by_key` and `flat_map_groups` do without.
        """
        if sort_key is not None:
            _check_function("group_by_key", sort_key)
        return _shuffle(self, "group_by_key()", reduce=gathered, sort_key=sort_key)

    def flat_map_groups(
        self,
        function: Callable[[Any, Any], Iterable[Any]],
        *,
        sort_key: Callable[[Any], Any] | None = None,
    ) -> Dataset:
        """Return all elements of what the function makes of each key and its values.

        It gets the key and an iterator over the values, in the order of `group_by_key`.
        """
        _check_function("flat_map_groups", function)
        if sort_key is not None:
            _check_function("flat_map_groups", sort_key)
        title = f"flat_map_groups({name_of(function)})"
        return _shuffle(self, title, reduce=OfGroups(function), sort_key=sort_key, lift=Lift.VALUE)

    def count_by_key(self) -> Dataset:
        """Return a pair for each key, with the number of its values."""
        count = aggregates.sum
        lower = CountedKeys()
        return _shuffle(self, "count_by_key()", lower=lower, reduce=count, combine=count)

    def sum_by_key(self) -> Dataset:
        """Return a pair for each key, with the sum of its values."""
        reduce = aggregates.sum
        return _shuffle(self, "sum_by_key()", reduce=reduce, combine=reduce)

    def min_by_key(self) -> Dataset:
        """Return a pair for each key, with its smallest value."""
        reduce = aggregates.min
        return _shuffle(self, "min_by_key()", reduce=reduce, combine=reduce)

    def max_by_key(self) -> Dataset:
        """Return a pair for each key, with its largest value."""
        reduce = aggregates.max
        return _shuffle(self, "max_by_key()", reduce=reduce, combine=reduce)

    def mean_by_key(self) -> Dataset:
        """Return a pair for each key, with the mean of its values."""
        counted = _narrow(self, PartSums())
        reduce = folding(folds.merged)
        sums = _shuffle(counted, "mean_by_key()", reduce=reduce, combine=reduce)
        return _narrow(sums, Each("map_values", folds.mean_of))

    # With other datasets

    def join(self, other: Dataset) -> Dataset:
        """Return `(key, (left, right))` for each two values of a key that both datasets have."""
        return self._join("join", Joining(), other)

    def left_join(self, other: Dataset) -> Dataset:
        """Return what `join` does, and `(key, (left, None))` for keys that only this one has."""
        return self._join("left_join", Joining(keep_left=True), other)

    def right_join(self, other: Dataset) -> Dataset:
        """Return what `join` does, and `(key, (None, right))` for keys that only the other has."""
        return self._join("right_join", Joining(keep_right=True), other)

    def full_join(self, other: Dataset) -> Dataset:
        """Return what `left_join` and `right_join` return together."""
        return self._join("full_join", Joining(keep_left=True, keep_right=True), other)

    def cogroup(self, *others: Dataset) -> Dataset:
        """Return a pair for each key, with a tuple of lists: its values in each dataset."""
        return self._join("cogroup", Cogrouping(1 + len(others)), *others)

    def _join(self, name: str, reduce: Wrapper, *others: Dataset) -> Dataset:
        for other in others:
            _check_dataset(name, other)
        sides = tuple(
            Side(each.node, WithSide(number)) for number, each in enumerate((self, *others))
        )
        return Dataset(Shuffle(title=f"{name}()", sides=sides, reduce=reduce))

    # As a whole

    def distinct(self) -> Dataset:
        """Return each element once; elements have to be of the types of keys."""
        reduce = aggregates.max
        lower = AsKeys()
        return _shuffle(
            self, "distinct()", lower=lower, reduce=reduce, combine=reduce, lift=Lift.KEY
        )

    def sort_by(self, key: Callable[[Any], Any] | None = None, *, reverse: bool = False) -> Dataset:
        """Return the elements in the order of their keys; without `key` they are their own.

        The order is that of `sorted`: ints, floats and bools compare by value. Elements with equal
        keys keep their order. Parts of an output are in order, too.
        """
        function = key or folds.itself
        _check_function("sort_by", function)
        title = f"sort_by({name_of(function)}{', reverse' if reverse else ''})"
        lower = ByKey(function, Descending() if reverse else ascending)
        return _shuffle(self, title, lower=lower, lift=Lift.VALUE, total_order=True)

    def top(self, count: int, key: Callable[[Any], Any] | None = None) -> Dataset:
        """Return the largest elements, the largest first, by `key` or by themselves."""
        _check_count("top", count)
        if key is not None:
            _check_function("top", key)
        largest = Largest(count, key)
        return _shuffle(
            self,
            f"top({count})",
            lower=AsValues(),
            reduce=largest,
            combine=largest,
            lift=Lift.VALUE,
            tasks=ONE_TASK,
        )

    def repartition(self, tasks: int) -> Dataset:
        """Return the pairs, spread by key over `tasks` tasks."""
        _check_count("repartition", tasks)
        return _shuffle(self, f"repartition({tasks})", reduce=passed, tasks=tasks)

    def _each(self, name: str, function: Callable[..., Any]) -> Dataset:
        _check_function(name, function)
        return _narrow(self, Each(name, function))


def _narrow(dataset: Dataset, operation: Operation) -> Dataset:
    return Dataset(Narrow(dataset.node, operation))


def _shuffle(dataset: Dataset, title: str, *, lower: Lower = _PAIRS, **fields: Any) -> Dataset:
    return Dataset(Shuffle(title=title, sides=(Side(dataset.node, lower),), **fields))


def _check_function(name: str, function: object) -> None:
    if not callable(function):
        shown = printable(text_of(function, repr), 100)
        raise UsageError(f"{name} needs a function. It got {shown}.")


def _check_count(name: str, count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise UsageError(f"{name} needs a whole number above 0. It got {text_of(count, repr)}.")


def _check_dataset(name: str, other: object) -> None:
    if not isinstance(other, Dataset):
        shown = printable(text_of(other, repr), 100)
        raise UsageError(
            f"{name} needs another Dataset. It got {shown}. mrcore.from_items makes one of a list."
        )
