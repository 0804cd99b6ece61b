"""Input files: the list that stands behind what a user names as input.

An input is a file, a folder (or the prefix of a bucket), or a pattern of `*`, `?`, `[…]` and `**`.
Names that begin with `_` or `.` are markers and left-overs of tools, so a folder or a wildcard does
not take them; a name that is spelt out does. A pattern that is itself the name of something there
stands for that thing alone. A folder that a pattern matches gives the files below it, as it would
had a shell filled in the pattern.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from mrcore.errors import InputError, NotFoundError, StorageError
from mrcore.model.formats import INPUT_FORMATS, format_of_file
from mrcore.model.job import Codec, Input, InputGroup
from mrcore.model.task import Piece
from mrcore.records.codecs import codec_of, without_extension
from mrcore.records.groups import Grouping
from mrcore.records.patterns import WILDCARD, pattern_of
from mrcore.storage.base import ObjectInfo, Storage, is_hidden
from mrcore.storage.places import NameKind
from mrcore.storage.registry import absolute_uri, is_relative, storage_for


class InputFile(msgspec.Struct, frozen=True):
    """One file of the input, as it was when it was listed."""

    uri: str
    shown: str
    """The file as the user would write it."""
    size_bytes: int
    generation: str
    codec: Codec
    """Compression of the file."""
    format: str
    """Name of the file's format (`mrcore.model.formats`)."""
    group: int = 0
    """Number of its input group, where the plugin has groups."""
    cut_points: tuple[int, ...] = ()
    """Bytes at which the file may be cut, where it has been looked at for that."""
    end: int = 0
    """Offset of the first record that the job does not read; 0 where it reads all."""

    def piece(self, start: int, end: int) -> Piece:
        """Return a range of the file."""
        return Piece(
            uri=self.uri,
            shown=self.shown,
            start=start,
            end=end,
            size_bytes=self.size_bytes,
            generation=self.generation,
            codec=self.codec,
            format=self.format,
        )


def parse_input(text: str, cwd: str) -> Input:
    """Return the input that a user typed in the folder `cwd`; touches no file.

    Raises InputError for a `..` behind a wildcard, UsageError for an empty text.
    """
    wildcard = WILDCARD.search(text)
    if wildcard is None:
        uri = absolute_uri(text, cwd)
        return Input(uri=uri, base_uri=uri, base_given=text)
    base_given = text[: text.rfind("/", 0, wildcard.start()) + 1]
    pattern = text[len(base_given) :]
    if ".." in pattern.split("/"):
        raise InputError(f"The input {text} has `..` behind a wildcard. Write it without `..`.")
    base_uri = absolute_uri(base_given or "./", cwd)
    return Input(uri=base_uri + pattern, base_uri=base_uri, base_given=base_given)


def listed(info: ObjectInfo, shown: str, job_format: str, group: int = 0) -> InputFile:
    """Return a file as the job reads it: its compression and format are decided here and only here.

    `job_format` is the format of the job, or of the file's input group.

    Raises InputError for a stored encoding that cannot be decoded.
    """
    return InputFile(
        uri=info.uri,
        shown=shown,
        size_bytes=info.size_bytes,
        generation=info.generation,
        codec=codec_of(info.uri, info.content_encoding),
        format=_format_of(info.uri, job_format),
        group=group,
    )


def _format_of(name: str, job_format: str) -> str:
    """Return the name of a file's format; most formats do not look at the file's name."""
    if not INPUT_FORMATS[job_format].by_extension:
        return job_format
    return format_of_file(without_extension(name), job_format).name


def expand(
    inputs: Sequence[Input],
    job_format: str,
    *,
    groups: Sequence[InputGroup] = (),
    skip_output: str | None = None,
) -> list[InputFile]:
    """Return the files of `inputs`: inputs in the order given, each one's files by name.

    `job_format` is the name of the job's input format. A file that two inputs name comes twice.
    With `groups`, the files of the first group come first, then those of the second, and so on.
    Files below the folder `skip_output` are left out.
    Raises InputError when an input is missing, matches nothing, cannot be read or is not Unicode,
    and when a file belongs to none of the groups.
    """
    grouping = Grouping(groups, job_format)
    skipped = None if skip_output is None else skip_output.rstrip("/") + "/"
    files: list[InputFile] = []
    for given in inputs:
        storage = storage_for(given.uri)
        try:
            found = [
                _listed(info, given, grouping)
                for info in _find(storage, given)
                if skipped is None or not info.uri.startswith(skipped)
            ]
            if not found:
                raise InputError(_missing(storage, given))
        except StorageError as error:
            if error.retryable or isinstance(error, NotFoundError):
                raise
            raise InputError(f"The input {_typed(given)} cannot be read: {error}") from error
        files += found
    files.sort(key=lambda file: file.group)  # which is stable
    _check_names(files)
    _probe(files)
    return files


def _listed(info: ObjectInfo, given: Input, grouping: Grouping) -> InputFile:
    """Return a file of an input, with its group and format."""
    shown = given.base_given + info.uri[len(given.base_uri) :]
    group = grouping.group_of(info.uri, shown) if given.group is None else given.group
    return listed(info, shown, grouping.format_of(group), group)


def covers(given: Input, folder_uri: str) -> bool:
    """Return whether this input takes files below `folder_uri`, judged by names alone."""
    inside = folder_uri.rstrip("/") + "/x"
    if WILDCARD.search(given.uri, len(given.base_uri)):
        matches = pattern_of(given.uri[len(given.base_uri) :]).fullmatch
        return inside.startswith(given.base_uri) and bool(matches(inside[len(given.base_uri) :]))
    folder = _folder(given.uri)
    return inside.startswith(folder) and bool(_below(inside[len(folder) :]))


def named_twice(inputs: Sequence[Input]) -> list[str]:
    """Return the inputs, as typed, that another input takes too, judged by names alone."""
    names = [given.uri.rstrip("/") for given in inputs]
    seen: set[str] = set()
    patterns = []
    for given in inputs:
        if WILDCARD.search(given.uri, len(given.base_uri)):
            patterns.append((given.base_uri, pattern_of(given.uri[len(given.base_uri) :])))
    folders = set(names)
    twice: list[str] = []
    for given, name in zip(inputs, names, strict=True):
        is_pattern = given.uri != given.base_uri
        inside = not is_pattern and (
            any(_below(rest) for folder, rest in _above(name) if folder in folders)
            or any(name.startswith(b) and p.fullmatch(name[len(b) :]) for b, p in patterns)
        )
        if name in seen or inside:
            twice.append(_typed(given))
        seen.add(name)
    return twice


def _above(name: str) -> Iterator[tuple[str, str]]:
    """Yield each folder that a URI lies below, and the rest of the name."""
    for slash in re.finditer("/", name):
        yield name[: slash.start()], name[slash.end() :]


def _find(storage: Storage, given: Input) -> Iterator[ObjectInfo]:
    """Yield the objects of one input."""
    literal = list(_literal(storage, given.uri))
    if literal or not WILDCARD.search(given.uri, len(given.base_uri)):
        yield from literal
        return
    pattern = given.uri[len(given.base_uri) :]
    wildcard = WILDCARD.search(pattern)
    fixed = pattern[: wildcard.start()] if wildcard else pattern
    yield from _matching(storage, given.base_uri, fixed, pattern)


def _literal(storage: Storage, uri: str) -> Iterator[ObjectInfo]:
    """Yield the object of this very name, else what lies below the folder of this name."""
    if not uri.endswith("/") and storage.whole(uri) is None:
        try:
            yield storage.stat(uri)
        except NotFoundError:
            pass
        else:
            return
    folder = _folder(uri)
    for info in storage.list(folder, hidden=False):
        if not info.is_folder:
            yield info


def _folder(uri: str) -> str:
    """Return the prefix of what lies below a folder: `gs://b/in//` is not `gs://b/in/`."""
    return uri if uri.endswith("/") else f"{uri}/"


def _matching(storage: Storage, base: str, fixed: str, pattern: str) -> Iterator[ObjectInfo]:
    """Yield what matches; `fixed` is the start of the pattern without wildcards."""
    compiled = pattern_of(pattern)
    # What the pattern does not name is not looked into: such a folder may be large, or closed.
    hidden = is_hidden(pattern, fixed)
    if "/" not in pattern.rstrip("/") and "**" not in pattern:
        # One level is enough, unless a folder matches: `/*.txt` must not walk the whole disk.
        level = list(storage.list(base + fixed, recursive=False, hidden=hidden))
        if not any(i.is_folder and compiled.fullmatch(i.uri[len(base) :] + "x") for i in level):
            yield from _objects(level, base, compiled)
            return
    yield from _objects(storage.list(base + fixed, hidden=hidden), base, compiled)


def _objects(
    infos: Iterable[ObjectInfo], base: str, pattern: re.Pattern[str]
) -> Iterator[ObjectInfo]:
    for info in infos:
        if not info.is_folder and pattern.fullmatch(info.uri[len(base) :]):
            yield info


def _below(relative: str) -> bool:
    """Return whether a name below a folder is taken: no part of it begins with `_` or `.`."""
    return not is_hidden(relative, "")


def _typed(given: Input) -> str:
    """Return the input as the user typed it."""
    return given.base_given + given.uri[len(given.base_uri) :]


def _missing(storage: Storage, given: Input) -> str:
    """Return why an input gives no file."""
    typed = _typed(given)
    relative = is_relative(typed)
    if WILDCARD.search(given.uri, len(given.base_uri)):
        place = ", and from which folder it counts" if relative else ""
        return f"No file matches {typed}. Check the pattern{place}."
    folder = _folder(given.uri)
    if any(storage.list(folder)):
        return f"The input {typed} holds only names that begin with `_` or `.`. Name the files."
    if any(info.uri == folder for info in storage.list(folder[:-1], recursive=False)):
        return f"The input {typed} is a folder without files. Name one that holds the data."
    if storage.kind(given.uri) in (NameKind.OBJECT, NameKind.OTHER):
        return f"The input {typed} is neither a file nor a folder. Copy its content to a file."
    place = " and the current folder" if relative else ""
    return f"The input {typed} does not exist. Check its spelling{place}."


def _check_names(files: Iterable[InputFile]) -> None:
    """Raise InputError for a name that is not Unicode, which no message could carry."""
    for file in files:
        try:
            file.uri.encode()
        except UnicodeEncodeError:
            raise InputError(
                f"The input {file.shown!a} has a name that is not valid Unicode. Rename it."
            ) from None


def _probe(files: Iterable[InputFile]) -> None:
    """Raise InputError for a file that may be listed but not read."""
    by_store: dict[Storage, dict[str, InputFile]] = defaultdict(dict)
    for file in files:
        by_store[storage_for(file.uri)][file.uri] = file
    for storage, listed in by_store.items():
        found = storage.first_unreadable(listed)
        if found is not None:
            uri, problem = found
            raise InputError(f"The input {listed[uri].shown} cannot be read{problem}")
