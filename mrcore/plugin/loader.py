"""The user's code: unpacking a bundle, importing what is in it, and checking what was found.

A bundle (`mrcore.plugin.bundle` builds it) is a zip with

    manifest.json    what to load, and where each source lay on the user's machine
    code/…           modules, which the plugin finds first
    files/…          side files (`--files`), for `context.file(name)`
    functions.pkl    functions of a session, by cloudpickle; only where there is no module

Sources are compiled under the paths that they had on the user's machine, so that tracebacks read as
if the user had run them. Whoever calls `load_bundle` lets foreign code into its process: that is a
child's business, and the inline engine's, never a daemon's.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
import json
import lzma
import secrets
import shutil
import sys
import types
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from mrcore.errors import PluginError, UsageError
from mrcore.plugin import by_value, importing
from mrcore.plugin.checks import check_functions
from mrcore.plugin.functions import (
    FUNCTIONS,
    INPUTS,
    OPTIONS,
    STATED,
    STEPS,
    UserFunctions,
    all_functions,
)
from mrcore.plugin.nesting import GUARD, NestedJobError
from mrcore.plugin.running import running
from mrcore.plugin.tracebacks import (
    last_line,
    missing_module_hint,
    user_line,
    user_traceback,
)
from mrcore.util.texts import text_of

MAX_BUNDLE_BYTES: Final = 48 << 20
"""Largest zip, which travels in one message."""
MAX_UNPACKED_BYTES: Final = 512 << 20
MAX_MEMBERS: Final = 20_000
MAX_NAME_BYTES: Final = 255
"""Bytes of a file or folder in a bundle: what file systems allow."""
MAX_PATH_CHARS: Final = 1_000

MANIFEST: Final = "manifest.json"
CODE: Final = "code"
FILES: Final = "files"
PICKLED: Final = "functions.pkl"
_NAMES: Final = (*FUNCTIONS, STEPS, INPUTS, OPTIONS, *STATED)
"""Names that mean something in a plugin."""


def load_bundle(data: bytes, folder: Path, sha256: str | None = None) -> UserFunctions:
    """Unpack a bundle below `folder`, in a folder named by its SHA-256, and load it.

    With `sha256`, a bundle that has another one is refused.
    """
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise PluginError("The stored plugin bundle was changed or cut off. Submit the job again.")
    return load_unpacked(unpack_bundle(data, folder))


def unpack_bundle(data: bytes, folder: Path) -> Path:
    """Unpack a bundle into `folder/<sha256>`, once however many processes try; return that.

    Raises PluginError for a zip that is damaged, too large, or has names that lead out of it.
    """
    target = folder / hashlib.sha256(data).hexdigest()
    if is_unpacked(target):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{target.name[:16]}-{secrets.token_hex(4)}"
    remains = draft.with_suffix(".old")
    try:
        draft.mkdir()
        _extract(data, draft)
        with contextlib.suppress(OSError):
            if not is_unpacked(target):
                target.rename(remains)
        try:
            draft.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(remains, ignore_errors=True)
    return target


def is_unpacked(folder: Path) -> bool:
    """Return whether a bundle lies there as a whole: cleaners of old files may have been there."""
    try:
        sources = json.loads((folder / MANIFEST).read_bytes())["sources"]
    except (OSError, ValueError):
        return False
    return all((folder / member).is_file() for member in sources)


def _extract(data: bytes, draft: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise PluginError(f"The plugin bundle has more than {MAX_MEMBERS:,} files.")
            room = MAX_UNPACKED_BYTES
            for member in members:
                path = _member_path(member.filename)
                content = _content(archive, member, room + 1)
                room -= len(content)
                if room < 0:
                    raise PluginError(
                        f"The plugin bundle unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB."
                    )
                target = draft / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
    except _DAMAGED as error:
        raise PluginError(
            f"The plugin bundle is damaged ({error}). Submit the job again."
        ) from None


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit_bytes: int) -> bytes:
    """Return the content of a member, or its beginning."""
    try:
        with archive.open(member) as source:
            return source.read(limit_bytes)
    except OSError as error:  # of bz2, over bytes that are none of its own
        raise zipfile.BadZipFile(str(error)) from None


_DAMAGED: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
    RuntimeError,  # encrypted
    ValueError,  # names and numbers
    FileExistsError, IsADirectoryError, NotADirectoryError,  # one member below another
)  # fmt: skip
"""Errors of zipfile for bytes that are not a zip, and of files with names that cannot be."""


def _member_path(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    allowed = name in (MANIFEST, PICKLED) or (
        len(path.parts) > 1 and path.parts[0] in (CODE, FILES)
    )
    longest = max((len(part.encode(errors="replace")) for part in path.parts), default=0)
    allowed = allowed and longest <= MAX_NAME_BYTES and len(name) <= MAX_PATH_CHARS
    if not allowed or ".." in path.parts or "\\" in name or "\0" in name or name != str(path):
        raise PluginError(
            f"The plugin bundle holds a file with a name that is not allowed: {name}."
        )
    return path


def install_modules(data: bytes, folder: Path) -> None:
    """Make the modules of a bundle importable, in place of those of a former bundle.

    It is unpacked below `folder`, in a folder named by its SHA-256. Raises PluginError for damage.
    """
    unpacked = unpack_bundle(data, folder)
    manifest = json.loads((unpacked / MANIFEST).read_bytes())
    sources = {str(unpacked / member): str(path) for member, path in manifest["sources"].items()}
    by_value.forget_made({entry.stem for entry in (unpacked / CODE).iterdir()})
    importing.install(unpacked / CODE, None, sources)


def load_unpacked(folder: Path) -> UserFunctions:
    """Import the plugin that was unpacked into `folder`; raise PluginError.

    The process is changed for good: the bundle's code, its side files and the current folder are
    importable from now on.
    """
    manifest = json.loads((folder / MANIFEST).read_bytes())
    name = str(manifest["name"])
    sources = {str(folder / member): str(path) for member, path in manifest["sources"].items()}
    files = folder / FILES
    importing.install(folder / CODE, files if files.is_dir() else None, sources)
    user_paths = tuple(sources.values())
    found: Mapping[str, object]
    if manifest["kind"] == "module":
        found = _functions_of(_import(manifest["module"], name), manifest["object"], name)
    else:
        found = _unpickle(folder / PICKLED)
        user_paths += tuple(
            code.co_filename
            for code in (getattr(each, "__code__", None) for each in all_functions(found))
            if code is not None
        )
    return check_functions(
        found,
        name=name,
        files_folder=files if files.is_dir() else None,
        user_paths=tuple(dict.fromkeys(user_paths)),
    )


def _import(module: str, name: str) -> types.ModuleType:
    try:
        with running():
            __import__(module)  # `importlib.import_module` would leave a frame of its own
        return sys.modules[module]
    except SystemExit as error:
        raise PluginError(
            f"{name} called sys.exit({text_of(error.code, repr)}) when it was imported. "
            f"Put what runs a script under `{GUARD}`."
        ) from None
    except NestedJobError:
        raise PluginError(
            f"{name} starts a job when it is imported, as it is for each task. "
            f"Guard that by `{GUARD}`."
        ) from None
    except KeyboardInterrupt:
        raise
    except UsageError as error:  # of our own functions, such as Step
        line = user_line(error)
        raise PluginError(f"{name}{f', line {line}' if line else ''}: {error}") from None
    except BaseException as error:  # noqa: BLE001 - the user's code may raise whatever it likes
        hint = missing_module_hint(error)
        if isinstance(error, ImportError) and "attempted relative import" in text_of(error):
            hint = " (name a file in a package as a module instead: package.module)"
        raise PluginError(
            f"{name} cannot be imported: {last_line(error)}{hint}\n{user_traceback(error)}"
        ) from None


def _unpickle(path: Path) -> dict[str, object]:
    try:
        with running():
            found = by_value.load(path.read_bytes())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - unpickling runs the user's code
        raise PluginError(
            f"The job's functions cannot be loaded: {last_line(error)}\n{user_traceback(error)}"
        ) from None
    assert isinstance(found, dict)
    return found


def _functions_of(module: types.ModuleType, attribute: str | None, name: str) -> dict[str, object]:
    """Return the plugin's functions that `module`, or an object in it, has under their names."""
    holder: object = module
    if attribute:
        try:
            for part in attribute.split("."):
                holder = getattr(holder, part)
        except AttributeError:
            raise PluginError(
                f"{module.__name__} has no {attribute}. Name an object of the module, "
                f"as in {module.__name__}:Job."
            ) from None
        if inspect.isfunction(holder) and not hasattr(holder, "map"):
            raise PluginError(
                f"{name} is a function. Name a class or an object that has map and reduce."
            )
        if inspect.isclass(holder):
            holder = _instance(holder, name)
    try:
        with running():
            found = {key: getattr(holder, key, None) for key in _NAMES}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - it may be looked up by code of the user
        raise PluginError(
            f"The functions of {name} cannot be looked up: {last_line(error)}\n"
            f"{user_traceback(error)}"
        ) from None
    return {key: value for key, value in found.items() if value is not None}


def _instance(kind: type, name: str) -> object:
    try:
        with running():
            return kind()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the user's constructor
        raise PluginError(
            f"{name} cannot be made without arguments: {last_line(error)}\n{user_traceback(error)}"
        ) from None
