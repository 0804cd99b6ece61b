"""Price list: a dated file of figures, which the user can replace.

The list gives a price to a core and to a GiB of memory of each machine family, since that is how
machines are billed, and a range to spot machines, whose prices change every month.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from mrcore.errors import UsageError
from mrcore.util.decoding import UNREADABLE

HOURS_PER_MONTH: Final = 730.0
_PREDEFINED = re.compile(r"([a-z][a-z0-9]*)-([a-z]+)-(\d{1,3})(?:-[a-z0-9]+)?")
_CUSTOM = re.compile(r"(?:([a-z][a-z0-9]*)-)?custom-(\d{1,3})-(\d{1,7})(?:-ext)?")


class Shape(msgspec.Struct, frozen=True):
    """Billed resources of a machine type."""

    family: str
    vcpus: float
    gib: float


class FamilyPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dollars an hour, on demand, where the factor of the region is 1."""

    vcpu_hour: float
    gib_hour: float
    source: str = ""
    checked: str = ""
    """The day on which the figures were compared with their source; empty: never."""
    estimated: bool = False
    """No source has these figures; they come near to those of whole machines."""


class Special(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine type, or a series of a family, that does not follow the rule."""

    vcpus: float | None = None
    gib: float | None = None
    gib_per_vcpu: float | None = None


class Range(msgspec.Struct, frozen=True):
    """Range from the least to the most."""

    low: float
    high: float
    source: str = ""
    checked: str = ""

    def times(self, factor: float) -> Range:
        """Return the range multiplied by `factor`."""
        return Range(self.low * factor, self.high * factor)

    def plus(self, other: Range) -> Range:
        """Return the range of both together."""
        return Range(self.low + other.low, self.high + other.high)


class Prices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A price list; all money is in US dollars."""

    date: str
    source: str
    currency: str
    families: dict[str, FamilyPrice]
    other_family: FamilyPrice
    """Cautious price for a family that the list does not name."""
    gib_per_vcpu: dict[str, float]
    exceptions: dict[str, Special]
    spot_share: Range
    """Price of a spot machine as a share of the on-demand price."""
    regions: dict[str, float]
    """Factors on the prices of the families and of disks."""
    regions_source: str = ""
    regions_checked: tuple[str, ...] = ()
    """Regions whose factor was checked against a machine's price; the others are estimates."""
    other_region: float
    disk_gib_month: float
    storage_gib_month: float
    class_a_thousand: float
    class_b_thousand: float
    egress_gib: float

    def shape(self, machine_type: str) -> Shape:
        """Return the shape of a machine type; raise UsageError for an unknown name."""
        special = self.exceptions.get(machine_type, Special())
        if special.vcpus is not None and special.gib is not None:
            return Shape(machine_type.partition("-")[0], special.vcpus, special.gib)
        if custom := _CUSTOM.fullmatch(machine_type):
            return Shape(custom[1] or "n1", int(custom[2]), int(custom[3]) / 1024)
        predefined = _PREDEFINED.fullmatch(machine_type)
        if predefined is None:
            raise UsageError(
                f"{machine_type!r} is not a machine type. Write one such as e2-standard-4."
            )
        family, series, vcpus = predefined[1], predefined[2], int(predefined[3])
        special = self.exceptions.get(f"{family}-{series}", Special())
        usual = self.gib_per_vcpu.get(series, max(self.gib_per_vcpu.values()))
        return Shape(family, vcpus, vcpus * (special.gib_per_vcpu or usual))

    def machine_hour(self, machine_type: str, *, spot: bool, region: str) -> Range:
        """Return the cost of one machine hour without its disk."""
        shape = self.shape(machine_type)
        price = self.families.get(shape.family, self.other_family)
        full = shape.vcpus * price.vcpu_hour + shape.gib * price.gib_hour
        full *= self._factor(region)
        return self.spot_share.times(full) if spot else Range(full, full)

    def _factor(self, region: str) -> float:
        return self.regions.get(region, self.other_region)

    def disk_hour(self, gib: float, region: str) -> float:
        """Return the cost of a boot disk for one hour; spot machines pay it in full."""
        return gib * self.disk_gib_month * self._factor(region) / HOURS_PER_MONTH

    def estimated(self, machine_types: Iterable[str]) -> list[str]:
        """Return those families of machine types whose prices are estimates, or not known."""
        families = {self.shape(name).family for name in machine_types}
        sure = {name for name, price in self.families.items() if not price.estimated}
        return sorted(families - sure)

    def operations(self, class_a: int, class_b: int) -> float:
        """Return the cost of these storage operations."""
        return class_a * self.class_a_thousand / 1000 + class_b * self.class_b_thousand / 1000


def region_of(zone: str) -> str:
    """Return the region of a zone: `us-central1` of `us-central1-a`."""
    return zone.rpartition("-")[0]


def load_prices(path: str | None = None) -> Prices:
    """Return the list in this file, else in the one that MRCORE_PRICES names, else our own.

    Raises UsageError for a file that cannot be read.
    """
    chosen = path or os.environ.get("MRCORE_PRICES")
    if not chosen:
        return _own_prices()
    try:
        return msgspec.json.decode(Path(chosen).read_bytes(), type=Prices)
    except (OSError, *UNREADABLE) as error:
        raise UsageError(f"The price list {chosen} cannot be read ({error}).") from error


@cache
def _own_prices() -> Prices:
    from importlib.resources import files  # slow to load, for a start that needs no prices

    return msgspec.json.decode(
        files("mrcore.cost").joinpath("prices.json").read_bytes(), type=Prices
    )
