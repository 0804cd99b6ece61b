"""Actions of a dataset: they plan it, run it, and bring back or write its elements."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterator
from functools import reduce as fold
from itertools import islice
from typing import Any, Final

from mrcore.client.option_values import path_text
from mrcore.dataset import folds
from mrcore.dataset.lowers import AsRows, AsValues, FirstOnes, Folded, Lower
from mrcore.dataset.nodes import Node
from mrcore.dataset.planning import Plan, plan
from mrcore.dataset.running import run_plan, where
from mrcore.engine.api import Result
from mrcore.engine.results import ResultReader
from mrcore.errors import UsageError
from mrcore.records.frames import pairs_of_results

MAX_ELEMENTS: Final = 10_000_000
"""Elements that `take` returns at most."""
COLLECTED: Final = 1_000_000
"""Elements that `collect` returns unless it is given another limit."""


class Explained(str):
    """Stages of a dataset: a text that shows itself as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Actions:
    """Actions of a dataset. All take the same keywords, see `collect`."""

    node: Node

    def explain(self) -> Explained:
        """Return the stages that the dataset becomes, as a text; nothing is read or run."""
        return Explained(plan(self.node, AsValues()).text())

    def collect(self, limit: int = COLLECTED, **options: Any) -> list[Any]:
        """Return all elements as a list.

        `on` names the cluster to run on: what `mrcore.connect` or `mrcore.LocalCluster` returns.
        Without it a cluster of this machine is made for the job, of `workers` processes with
        `slots` each; with `engine="inline"` it runs in this process. `progress` shows a line on
        stderr, by default on a terminal and in a notebook. The other keywords are those of
        `mrcore.run`, such as `reduces`, `memory`, `params` or `max_attempts`.

        Raises UsageError for more than `limit` elements.
        """
        _check_count("limit", limit, 0)
        found = self._first(limit + 1, "collect", options)
        if len(found) > limit:
            raise UsageError(
                f"collect() found more than {limit:,} elements. Write them with write_jsonl, call "
                "take(n), or give collect(limit=…)."
            )
        return found

    def take(self, count: int, **options: Any) -> list[Any]:
        """Return the first elements as a list, in the order of the input or of `sort_by`.

        The job is stopped as soon as they are there, so later tasks need not run.
        """
        _check_count("take", count, 1)
        if count > MAX_ELEMENTS:
            raise UsageError(
                f"take({count:,}) would fill the memory, and {MAX_ELEMENTS:,} is the limit. Write "
                "the elements with write_jsonl."
            )
        return self._first(count, "take", options)

    def count(self, **options: Any) -> int:
        """Return the number of elements."""
        return sum(self._values(Folded(folds.size_of), "count", options))

    def reduce(self, function: Callable[[Any, Any], Any], **options: Any) -> Any:
        """Return the elements folded by an associative function; raise UsageError for none."""
        if not callable(function):
            raise UsageError(f"reduce needs a function. It got {function!r}.")
        return fold(function, self._folded("reduce", folds.FoldedBy(function), options))

    def sum(self, **options: Any) -> Any:
        """Return the sum of the elements; 0 for none."""
        found = [value for (value,) in self._values(Folded(folds.Over(sum)), "sum", options)]
        return folds.merge_all("sum", operator.add, found) if found else 0

    def min(self, **options: Any) -> Any:
        """Return the smallest element; raise UsageError for none."""
        return folds.merge_all("min", min, self._folded("min", min, options))

    def max(self, **options: Any) -> Any:
        """Return the largest element; raise UsageError for none."""
        return folds.merge_all("max", max, self._folded("max", max, options))

    def mean(self, **options: Any) -> Any:
        """Return the mean of the elements; raise UsageError for none."""
        sums, counts = zip(*self._folded("mean", folds.mean_parts, options), strict=True)
        return folds.mean_of((folds.merge_all("mean", operator.add, sums), sum(counts)))

    def write_text(self, path: str | os.PathLike[str], **options: Any) -> Result:
        """Write a line for each element: `key<TAB>value` for a pair, else its `str`.

        With `partition_by` the elements are dicts, whose other cells are the line, with tabs.
        All parts appear at once, when the job has succeeded. The keywords are those of `collect`,
        and `overwrite` and `compress` of `mrcore.run`.
        """
        return self._write("text", path, options)

    def write_jsonl(self, path: str | os.PathLike[str], **options: Any) -> Result:
        """Write a line of JSON for each element; see `write_text`."""
        return self._write("jsonl", path, options)

    def write_csv(self, path: str | os.PathLike[str], **options: Any) -> Result:
        """Write csv files with a header: a column for each name of the dicts; see `write_text`.

        Pairs have the columns `key` and `value`.
        """
        return self._write("csv", path, options)

    def write_tsv(self, path: str | os.PathLike[str], **options: Any) -> Result:
        """Write as `write_csv` does, with tabs in place of commas."""
        return self._write("tsv", path, options)

    def write_parquet(self, path: str | os.PathLike[str], **options: Any) -> Result:
        """Write parquet files: a column for each name of the dicts; see `write_csv`."""
        return self._write("parquet", path, options)

    def _first(self, count: int, action: str, options: dict[str, Any]) -> list[Any]:
        """Return the first elements; tasks that would only have later ones need not run."""
        place = where(action, options)
        found: list[Any] = []

        def take(result: bytes) -> bool:
            pairs = pairs_of_results([result])
            found.extend(element for _, element in islice(pairs, count - len(found)))
            return len(found) == count

        run_plan(
            self._plan(FirstOnes(count), action), place, reader=ResultReader(take, may_stop=True)
        )
        return found

    def _values(self, lower: Lower, action: str, options: dict[str, Any]) -> Iterator[Any]:
        place = where(action, options)
        results: list[bytes] = []
        run_plan(self._plan(lower, action), place, reader=ResultReader(results.append))
        return (value for _, value in pairs_of_results(results))

    def _folded(self, action: str, over: Callable[..., Any], options: Any) -> list[Any]:
        """Return what a function over many elements makes of those of each task."""
        values = self._values(Folded(folds.Over(over)), action, options)
        found = [value for (value,) in values]
        if not found:
            raise UsageError(f"{action}() has no elements to work on. Check the input.")
        return found

    def _write(self, name: str, path: Any, options: dict[str, Any]) -> Result:
        output = path_text("path", path)
        place = where(f"write_{name}", options)
        # A line of text has no columns, and folders of values need one.
        as_lines = name == "text" and not options.get("partition_by")
        made = self._plan(AsRows(text=as_lines), f"write_{name}({output})")
        return Result(run_plan(made, place, output=output, output_format=name))

    def _plan(self, lower: Lower, title: str) -> Plan:
        return plan(self.node, lower, title)


def _check_count(name: str, value: object, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise UsageError(f"{name} is {value!r}. Give a whole number of at least {low}.")
