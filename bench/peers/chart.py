"""Charts of a report: how many times as fast as the other programs, and how costs grow.

scripts/bench --chart FILE
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

OURS, MISSED, MARK, GREY = "#2a6f97", "#c44536", "#222222", "#999999"
LONGEST = 5.0
SHADES = ("#89c2d9", "#2a6f97", "#013a63", "#e09f3e", "#9e2a2b")
TEXT_POINTS = 11
INCHES, DOTS_AN_INCH = 9.0, 120


def main() -> None:
    """Read a report from standard input and write the picture."""
    report = json.load(sys.stdin)
    plt.rcParams.update({"font.size": TEXT_POINTS, "axes.spines.top": False})
    plt.rcParams.update({"axes.spines.right": False})
    ratios = [row for row in report["rows"] if is_ratio(row)]
    growing = [row for row in report["rows"] if "workers" in (row["point"] or {})]
    if ratios:
        draw_ratios(ratios)
    elif growing:
        draw_growth(growing)
    else:
        sys.exit("bench: no chart: there are neither ratios nor figures of growth.")
    where = f"mrcore on {report['machine']}, {report['date']}"
    plt.gcf().suptitle(where, fontsize=TEXT_POINTS)
    plt.savefig(sys.argv[1], dpi=DOTS_AN_INCH, metadata={"Software": None})


def is_ratio(row: dict[str, Any]) -> bool:
    """Return whether a row has how many times as fast we are."""
    return bool(row["unit"] == "x" and row["target"]["higher_is_better"])


def draw_ratios(rows: list[dict[str, Any]]) -> None:
    """Draw a bar for each ratio, with a mark at what is required."""
    rows.reverse()
    height = 1.2 + 0.4 * len(rows)
    _, axes = plt.subplots(figsize=(INCHES, height), layout="constrained")
    places = range(len(rows))
    colors = [MISSED if row["verdict"] == "MISSED" else OURS for row in rows]
    # The longest bars would leave no room for the others.
    wanted = max(row["target"]["required"] or 1.0 for row in rows)
    edge = max(min(max(row["value"] for row in rows), LONGEST), wanted)
    axes.barh(places, [min(row["value"], edge) for row in rows], color=colors, height=0.62)
    for place, row in zip(places, rows, strict=True):
        required = row["target"]["required"]
        end = max(min(row["value"], edge), required or 0.0) + 0.015 * edge
        axes.text(end, place, f"{row['value']:.2f}", va="center")
        if required is not None:
            axes.plot([required] * 2, [place - 0.4, place + 0.4], color=MARK, linewidth=2)
    axes.axvline(1.0, color=GREY, linewidth=1, linestyle=":")
    axes.set_xlim(0, 1.12 * edge)
    axes.set_yticks(places, [label(row) for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("times as fast as the other program (black mark: what is required)")


def label(row: dict[str, Any]) -> str:
    """Return the name of a ratio, with the other program."""
    peer = (row["point"] or {}).get("peer", "")
    return row["name"] if not peer or peer in row["name"] else f"{row['name']} ({peer})"


def draw_growth(rows: list[dict[str, Any]]) -> None:
    """Draw a panel for each job, and one for the master's fleets."""
    works: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        works[row["point"]["work"]].append(row)
    _, panels = plt.subplots(1, len(works), figsize=(INCHES, 3.6), layout="constrained")
    for axes, (work, some) in zip(
        panels if len(works) > 1 else [panels], works.items(), strict=True
    ):
        if "megabytes" in some[0]["point"]:
            _draw_seconds(axes, some)
        else:
            _draw_fleets(axes, some)
        axes.set_title(work, fontsize=TEXT_POINTS)


def _draw_seconds(axes: Any, rows: list[dict[str, Any]]) -> None:
    series: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        series[row["point"]["workers"]].append((row["point"]["megabytes"], row["value"]))
    for (workers, points), color in zip(sorted(series.items()), SHADES, strict=False):
        name = f"{workers} worker{'s' * (workers > 1)}"
        axes.plot(*zip(*sorted(points), strict=True), "o-", color=color, label=name)
    sizes = sorted({row["point"]["megabytes"] for row in rows})
    axes.set(xscale="log", yscale="log", xlabel="megabytes", ylabel="seconds")
    _ticks(axes.xaxis, sizes)
    _plain(axes.yaxis)
    axes.legend(frameon=False, fontsize=TEXT_POINTS - 2)


def _draw_fleets(axes: Any, rows: list[dict[str, Any]]) -> None:
    points = sorted((row["point"]["workers"], row["value"]) for row in rows)
    axes.plot(*zip(*points, strict=True), "o-", color=OURS)
    axes.set(xscale="log", xlabel="simulated workers", ylabel="ms of its processor time a task")
    axes.set_ylim(0, 1.3 * max(value for _, value in points))
    _ticks(axes.xaxis, [workers for workers, _ in points])


def _ticks(axis: Any, values: list[float]) -> None:
    axis.set_ticks(values, [f"{value:,.0f}" for value in values])
    axis.set_minor_locator(mpl.ticker.NullLocator())


def _plain(axis: Any) -> None:
    axis.set_major_locator(mpl.ticker.LogLocator(base=10, subs=(1, 2, 5)))
    axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(mpl.ticker.NullLocator())


if __name__ == "__main__":
    main()
