"""The chart of a report: how many times as fast as the other program, with what is required.

scripts/bench --chart FILE
"""

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

OURS, MISSED, MARK = "#2a6f97", "#c44536", "#222222"


def is_ratio(row: dict[str, Any]) -> bool:
    """Return whether a row has how many times as fast we are."""
    return bool(row["unit"] == "x" and row["target"]["higher_is_better"])


def main() -> None:
    """Read a report from standard input and write the picture."""
    report = json.load(sys.stdin)
    rows = [
        row for row in report["rows"] if row["unit"] == "x" and row["target"]["higher_is_better"]
    ]
    rows.reverse()
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.42 * len(rows)), layout="constrained")
    places = range(len(rows))
    colors = [MISSED if row["verdict"] == "MISSED" else OURS for row in rows]
    bars = axes.barh(places, [row["value"] for row in rows], color=colors, height=0.6)
    axes.bar_label(bars, labels=[f"{row['value']:.2f}" for row in rows], padding=3, fontsize=9)
    for place, row in zip(places, rows, strict=True):
        required = row["target"]["required"]
        if required is not None:
            axes.plot([required] * 2, [place - 0.38, place + 0.38], color=MARK, linewidth=1.6)
    axes.axvline(1.0, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_yticks(places, [row["name"] for row in rows], fontsize=9)
    axes.set_xlabel("times as fast as the other program (black: required)")
    axes.set_title(f"mrcore on {report['machine']}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(sys.argv[1], dpi=120)


if __name__ == "__main__":
    main()
