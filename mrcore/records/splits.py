"""Cutting the input of a job into splits, one for each map task. Pure: sizes in, ranges out."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from itertools import groupby, pairwise
from operator import attrgetter

import msgspec

from mrcore.model.formats import Cut, file_format
from mrcore.model.job import Codec
from mrcore.model.task import Piece, Split
from mrcore.records.inputs import InputFile

MIN_SPLIT_BYTES = 1 << 20
USUAL_SPLIT_BYTES = 64 << 20
"""Largest split of an input that is not large itself, and its bytes for each reduce."""
MAX_SPLIT_BYTES = 1 << 30
"""Largest split, unless `MAX_SECTIONS` asks for more: what a lost machine has done in vain."""
SECTION_BYTES = 2 << 20
"""Input for each section of a large job. A section costs a request, however small it is."""
MAX_SECTIONS = 20_000_000
"""Sections of the runs of all map tasks: the master remembers each of them."""
EXCESS = 4
"""Share of a split, as its denominator, by which one may be larger than it should be.

A file a little larger than a split is one task rather than two halves.
"""
TASKS_PER_SLOT = 4
"""Enough tasks that the slots finish at about the same time."""
SMALL_INPUT_BYTES = 4 << 20
"""Below it one reduce is quicker than several, and one part is handier."""
MAX_AUTO_REDUCES = 1000
TOTAL_ORDER_SLOTS = 8
"""Slots that the input is cut for in total order, however many workers there are.

Borders between parts are keys at which blocks of runs begin, so other splits give other parts.
"""
MAX_PIECES = 1000
"""Files in one split: an assignment stays far below the limit of a gRPC message."""


def target_bytes(total_bytes: int, slots: int, tasks: int = 0, *, reduces: int = 0) -> int:
    """Return how large a split of an input of `total_bytes` should be.

    `tasks` is the number of splits that is asked for; 0 leaves it to the number of slots. `reduces`
    is the number of sections of a run.
    """
    if tasks:
        return max(-(-total_bytes // tasks), 1)
    wanted = -(-total_bytes // (TASKS_PER_SLOT * max(slots, 1)))
    target = min(max(wanted, MIN_SPLIT_BYTES), task_bytes(total_bytes))
    return max(target, -(-total_bytes * reduces // MAX_SECTIONS))


def task_bytes(total_bytes: int) -> int:
    """Return the input for one map task, or one reduce task, of a job with more than its slots.

    It grows with the root of the input. Sections are as many as map tasks times reduce tasks, so
    their number grows as the input does, and not as its square.
    """
    root = math.isqrt(total_bytes * SECTION_BYTES)
    return min(max(root, USUAL_SPLIT_BYTES), MAX_SPLIT_BYTES)


def auto_reduces(input_bytes: int, slots: int) -> int:
    """Return how many reduces suit an input: 1 for a small one, else every slot gets its share.

    A few rounds of reduces are full ones, so that no slot waits for the last of them.
    """
    if input_bytes < SMALL_INPUT_BYTES:
        return 1
    slots = max(slots, 1)
    wanted = -(-input_bytes // task_bytes(input_bytes))
    if wanted <= TASKS_PER_SLOT * slots:
        wanted = -(-wanted // slots) * slots
    return min(wanted, MAX_AUTO_REDUCES)


def cut(files: Sequence[InputFile], slots: int, tasks: int = 0, *, reduces: int = 0) -> list[Split]:
    """Return the splits of `files`, in the order of the files; numbers are as in `target_bytes`.

    Pieces follow each other as the bytes do, so the order of records is the same however they are
    cut. An empty file gives no piece, except in formats where it is a record. Files of different
    input groups do not share a split, and those of one group follow each other in `files`.
    """
    total_bytes = sum(file.size_bytes for file in files)
    target = target_bytes(total_bytes, slots, tasks, reduces=reduces)
    excess = 0 if tasks else target // EXCESS
    pieces: list[Piece] = []
    groups: list[int] = []
    """Input groups of the pieces."""
    packs: list[list[Piece]] = []
    for group, some in groupby(files, key=attrgetter("group")):
        found = [piece for file in some for piece in _pieces(file, target, excess)]
        pieces += found
        groups += [group] * len(found)
        packs += _pack(found, target, excess)
    wanted = tasks or TASKS_PER_SLOT * max(slots, 1)
    packs = _spread(packs, min(wanted, len(pieces)))
    return [Split(tuple(pack), groups[at]) for at, pack in _placed(packs)]


def _pieces(file: InputFile, target: int, excess: int) -> list[Piece]:
    """Cut one file into ranges of about `target` bytes, as evenly as its format lets us.

    Lines are cut so that no range is larger by more than `excess`.
    """
    found = file_format(file.format)
    if not file.size_bytes and not found.empty_is_record:
        return []
    if file.end and not (found.cut is Cut.LINES and file.codec is Codec.NONE):
        whole = file.piece(0, file.size_bytes)
        return [msgspec.structs.replace(whole, end_offset=file.end)]
    if found.cut is Cut.EVERY_POINT:
        borders = [0, *file.cut_points[1:], file.size_bytes]
    elif found.cut is Cut.POINTS:
        borders = _borders(file, target)
    elif found.cut is Cut.LINES and file.codec is Codec.NONE:
        size_bytes = file.end or file.size_bytes
        count = max(1, -(-(size_bytes - excess) // target))
        borders = [size_bytes * i // count for i in range(count + 1)]
    else:
        borders = [0, file.size_bytes]
    return [file.piece(start, end) for start, end in pairwise(borders)]


def _borders(file: InputFile, target: int) -> list[int]:
    """Return those of the file's points that are at most `target` bytes apart, where they allow."""
    borders = [0]
    points = file.cut_points
    for point, following in zip(points[1:], [*points[2:], file.size_bytes], strict=False):
        if following - borders[-1] > target:
            borders.append(point)
    return [*borders, file.size_bytes]


def _pack(pieces: Sequence[Piece], target: int, excess: int) -> list[list[Piece]]:
    """Put neighbours together while that brings them closer to `target` bytes.

    No pack of several pieces is larger by more than `excess`.
    """
    packs: list[list[Piece]] = []
    held = 0
    for piece in pieces:
        size = _weight(piece)
        over = held + size - target
        fits = over <= 0 or (over <= excess and over < target - held)
        if packs and fits and len(packs[-1]) < MAX_PIECES:
            packs[-1].append(piece)
            held += size
        else:
            packs.append([piece])
            held = size
    return packs


def _spread(packs: list[list[Piece]], wanted: int) -> list[list[Piece]]:
    """Halve the largest packs until there are `wanted`, or none holds two pieces.

    A file that is slow to map may be small: with files left to share out, no slot waits.
    """
    heap = [(-sum(map(_weight, pack)), at, pack) for at, pack in _placed(packs) if len(pack) > 1]
    heapq.heapify(heap)
    done = [(at, pack) for at, pack in _placed(packs) if len(pack) == 1]
    while heap and len(heap) + len(done) < wanted:
        _, at, pack = heapq.heappop(heap)
        middle = _middle(pack)
        for first, half in ((at, pack[:middle]), (at + middle, pack[middle:])):
            if len(half) > 1:
                heapq.heappush(heap, (-sum(map(_weight, half)), first, half))
            else:
                done.append((first, half))
    done += [(at, pack) for _, at, pack in heap]
    return [pack for _, pack in sorted(done, key=lambda placed: placed[0])]


def _placed(packs: Sequence[list[Piece]]) -> list[tuple[int, list[Piece]]]:
    """Pair each pack with the number of pieces before it."""
    at = 0
    placed = []
    for pack in packs:
        placed.append((at, pack))
        at += len(pack)
    return placed


def _middle(pack: Sequence[Piece]) -> int:
    """Return where to halve a pack by bytes, leaving a piece on both sides."""
    half = sum(map(_weight, pack)) / 2
    held = 0
    for index, piece in enumerate(pack):
        with_piece = held + _weight(piece)
        if with_piece >= half:
            nearest = index + 1 if with_piece - half <= half - held else index
            return min(max(nearest, 1), len(pack) - 1)
        held = with_piece
    return len(pack) - 1


def _weight(piece: Piece) -> int:
    """Return the bytes of a piece."""
    return piece.end - piece.start
