"""A hundred thousand pairs a line: nine of ten have one key, the others a key of their own."""

from collections.abc import Iterator


def map(key: tuple[str, int], value: str) -> Iterator[tuple[str, str]]:
    for number in range(100_000):
        yield ("hot" if number % 10 else f"{value}-{number}"), f"{number:08d} " * 20


def reduce(key: str, values: Iterator[str]) -> int:
    return sum(1 for _ in values)
