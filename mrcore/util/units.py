"""Sizes, durations and counts as people write and read them."""

from __future__ import annotations

import re

_SIZE_FACTORS = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
    "k": 1 << 10,
    "m": 1 << 20,
    "g": 1 << 30,
    "t": 1 << 40,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_DURATION_FACTORS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]{0,3})", re.IGNORECASE | re.ASCII)
_DURATION_PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)", re.ASCII)


def parse_size(text: str) -> int:
    """Return the bytes in `256MiB`, `1.5g` or `4096`; raise ValueError for anything else.

    `MB` is 1,000,000 bytes; `MiB` and a plain `m` are 1,048,576.
    """
    match = _SIZE.fullmatch(text.strip())
    factor = _SIZE_FACTORS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f"{text!r} is not a size; write one such as 256MiB or 2GB")
    return int(float(match[1]) * factor)


def parse_duration(text: str) -> float:
    """Return the seconds in `30s`, `500ms`, `1h30m`, `7d` or `2.5`; raise ValueError otherwise."""
    stripped = text.strip().lower()
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", stripped):
        return float(stripped)
    total, position = 0.0, 0
    for match in _DURATION_PART.finditer(stripped):
        if match.start() != position:
            break
        total += float(match[1]) * _DURATION_FACTORS[match[2]]
        position = match.end()
    if position == 0 or position != len(stripped):
        raise ValueError(f"{text!r} is not a duration; write one such as 30s, 5m or 1h30m")
    return total


def show_size(size_bytes: float) -> str:
    """Write a size in at most four digits: `0 B`, `999 B`, `12.3 MB`."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.4g} TB"


def show_count(count: float) -> str:
    """Write a count in at most four digits: `999`, `12.3 k`, `4.56 M`."""
    value = float(count)
    for unit in ("", " k", " M", " G"):
        if value < 999.5:
            return f"{value:.0f}" if unit == "" else f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:,.4g} T"


def show_number(count: float, thing: str) -> str:
    """Write a count with its noun: `1 record`, `12.3 k records`."""
    return f"{show_count(count)} {thing}{'' if count == 1 else 's'}"


def show_exact(count: int, thing: str) -> str:
    """Write a count with its noun and all digits: `1 record`, `12,345 records`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def show_dollars(dollars: float) -> str:
    """Write an amount of money: `$12.30`, and small ones in two digits that tell: `$0.0042`."""
    places = 2
    while places < 6 and 0 < abs(dollars) < 10 ** (1 - places):
        places += 1
    return f"${dollars:,.{places}f}"


def spell_duration(seconds: float) -> str:
    """Write a duration in the largest unit that makes it whole: `30 days`, `90 minutes`."""
    number, unit = seconds, "second"
    for factor, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= factor and seconds % factor == 0:
            number, unit = seconds / factor, name
            break
    return f"{number:,.9g} {unit}{'' if number == 1 else 's'}"


def show_duration(seconds: float) -> str:
    """Write a duration: `0.8 s`, `42 s`, `3 min 05 s`, `2 h 10 min`, `3 d 4 h`, `7 d`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    days, hours = whole // 86400, whole % 86400 // 3600
    return f"{days} d {hours} h" if hours else f"{days} d"
