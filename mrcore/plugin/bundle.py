"""Packing the user's code.

A bundle holds the plugin and every module that it imports, directly or not, from places that only
this machine has: the plugin's own folder, the current folder, and PYTHONPATH. What is installed
(the standard library, site-packages) must be installed on the workers too. The bytes are a
function of the content alone, so that the same plugin is stored once.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path

from mrcore.errors import PluginError, UsageError
from mrcore.plugin.by_value import dump
from mrcore.plugin.culprit import find_culprit
from mrcore.plugin.functions import all_functions
from mrcore.plugin.loader import (
    CODE,
    FILES,
    MANIFEST,
    MAX_BUNDLE_BYTES,
    MAX_MEMBERS,
    MAX_UNPACKED_BYTES,
    PICKLED,
)
from mrcore.plugin.local_modules import RESERVED, user_source


@dataclass(frozen=True, slots=True)
class Bundle:
    """A plugin as it travels."""

    data: bytes = field(repr=False)
    sha256: str
    name: str
    """Name of the plugin as typed by the user, for display."""


def build_bundle(target: str, files: Sequence[str], cwd: Path) -> Bundle:
    """Pack `target`, a file, a dotted module, or either with `:object`, and the side files.

    Nothing is imported. Raises PluginError for a target that is not there or too large, UsageError
    for a side file that cannot be taken.
    """
    place, attribute = _split_target(target, cwd)
    roots = _user_roots(cwd)
    if _is_file_target(place, cwd):
        path = _plugin_file(place, cwd)
        module = _module_name(path)
        # Python, too, looks beside the file that a link leads to.
        packer = _Packer([path.parent, path.resolve().parent, *roots])
        packer.add_file(f"{module}.py", path)
    else:
        module = place
        packer = _Packer(roots)
        packer.add_module(_checked_dotted(place, cwd, roots))
    return packer.finish("module", target, files, cwd, module=module, attribute=attribute)


def build_bundle_from_functions(
    given: Mapping[str, object], files: Sequence[str], cwd: Path, name: str
) -> Bundle:
    """Pack functions of this session (`map`, `reduce`, …; lambdas and closures too).

    Functions of modules that are not installed travel by value, and the modules that they refer to
    as sources. Raises PluginError for something that cannot be pickled.
    """
    import cloudpickle

    packer = _Packer(_user_roots(cwd))
    by_value = {
        module
        for module in (str(getattr(each, "__module__", "")) for each in all_functions(given))
        if module in sys.modules and module != "__main__" and user_source(sys.modules[module])
    }
    registered = [
        m for m in sorted(by_value) if m not in cloudpickle.list_registry_pickle_by_value()
    ]
    for module in registered:
        cloudpickle.register_pickle_by_value(sys.modules[module])
    try:
        data = dump(dict(given))
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - __reduce__ of the user's objects runs here
        place, problem = find_culprit(dict(given), dump)
        raise PluginError(
            f"The functions of the job cannot be sent to a worker, since {place or 'one of them'} "
            f"cannot be pickled ({problem}). Open files, locks and connections in setup(context), "
            "or inside the functions."
        ) from None
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(sys.modules[module])
    # A function that travels by value still tells the names of its module and package.
    told = by_value | {module.rpartition(".")[0] for module in by_value}
    for module in sorted(_modules_named_in(data) - told):
        source = user_source(sys.modules[module])
        if source is not None:
            packer.roots.append(_root_of(source, module))
            packer.add_module(module)
    packer.members[PICKLED] = data
    return packer.finish("functions", name, files, cwd, module="", attribute=None)


def build_bundle_of_modules(names: Sequence[str], roots: Sequence[Path], cwd: Path) -> Bundle:
    """Pack modules that functions import when they are called, with all that these import.

    `roots` are the folders where they are looked for. Raises PluginError for one that is nowhere
    there, or for more than may travel.
    """
    packer = _Packer([*roots, *_user_roots(cwd)])
    for name in names:
        before = len(packer.members)
        packer.add_module(name)
        if len(packer.members) == before and not packer.has(name):
            raise PluginError(
                f"The module {name} is not a source of this machine. Name modules that are not "
                "installed, and install the others on every worker."
            )
    return packer.finish("modules", ", ".join(names), [], cwd, module="", attribute=None)


def _split_target(target: str, cwd: Path) -> tuple[str, str | None]:
    place, colon, attribute = target.rpartition(":")
    if not colon or (cwd / target).is_file():
        return target, None
    if not place or not all(part.isidentifier() for part in attribute.split(".")):
        raise PluginError(
            f"{target!r} is not a plugin. Name a file, a dotted module, or module:object."
        )
    return place, attribute


def _is_file_target(place: str, cwd: Path) -> bool:
    return place.endswith(".py") or os.sep in place or (cwd / place).is_file()


def _plugin_file(place: str, cwd: Path) -> Path:
    path = Path(os.path.normpath(cwd / Path(place).expanduser()))
    if path.is_dir():
        raise PluginError(f"The plugin {place} is a folder. Name the Python file that has map.")
    if not path.is_file():
        raise PluginError(
            f"The plugin {place} does not exist. Give a Python file, or a module (package.module)."
        )
    return path


def _module_name(path: Path) -> str:
    """Return the name under which a plugin file is imported: its own, where that can be."""
    stem = path.name.removesuffix(".py")
    name = re.sub(r"\W", "_", stem)
    if not name.isidentifier() or name in RESERVED:
        name = f"plugin_{name}"
    return name


def _checked_dotted(place: str, cwd: Path, roots: Sequence[Path]) -> str:
    parts = place.split(".")
    if not all(part.isidentifier() for part in parts):
        raise PluginError(
            f"{place!r} is not a plugin. Name a file, a dotted module, or module:object."
        )
    search = [str(root) for root in roots]
    if parts[0] not in RESERVED and PathFinder.find_spec(parts[0], [*search, *sys.path]) is None:
        beside = cwd / f"{place}.py"
        hint = f"did you mean {beside.name}?" if beside.is_file() else "is PYTHONPATH right?"
        raise PluginError(f"The plugin module {place} does not exist: {hint}")
    return place


def _user_roots(cwd: Path) -> list[Path]:
    """Return the folders from which modules are packed, beside the plugin's own."""
    entries = [str(cwd), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return [Path(entry).absolute() for entry in dict.fromkeys(entries) if entry]


class _Packer:
    """Collects the members of a bundle, following imports."""

    def __init__(self, roots: list[Path]) -> None:
        self.roots = roots
        self.members: dict[str, bytes] = {}
        self._sources: dict[str, str] = {}
        self._seen: set[str] = set()
        self._size = 0

    def add_file(self, member: str, path: Path) -> None:
        """Take one file of code; follow what it imports."""
        try:
            data = path.read_bytes()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise PluginError(f"{path} cannot be read ({reason}). Check its permissions.") from None
        name = f"{CODE}/{member}"
        self._take(name, data)
        if path.suffix == ".py":
            self._sources[name] = str(path)
            for module in _imports(data):
                self.add_module(module)

    def add_module(self, dotted: str) -> None:
        """Take a module that one of the roots has: a file, or its whole top-level package."""
        top = dotted.partition(".")[0]
        if top in RESERVED or dotted in self._seen:
            return
        self._seen.add(dotted)
        for root in self.roots:
            package, single = root / top, root / f"{top}.py"
            if (package / "__init__.py").is_file():
                self._add_package(top, package)
                return
            if single.is_file():
                self._add_once(f"{top}.py", single)
                return
            if package.is_dir() and self._add_below_namespace(root, dotted):
                return

    def has(self, dotted: str) -> bool:
        """Return whether a module, or its package, is there."""
        place = f"{CODE}/{dotted.partition('.')[0]}"
        return any(each == f"{place}.py" or each.startswith(f"{place}/") for each in self.members)

    def _add_once(self, member: str, path: Path) -> None:
        if f"{CODE}/{member}" not in self.members:
            self.add_file(member, path)

    def _add_package(self, top: str, package: Path) -> None:
        if top in self._seen and f"{CODE}/{top}/__init__.py" in self.members:
            return
        self._seen.add(top)
        for path in sorted(_tree(package)):
            self._add_once(path.relative_to(package.parent).as_posix(), path)

    def _add_below_namespace(self, root: Path, dotted: str) -> bool:
        """Take one module from folders without `__init__.py`, which have no end otherwise."""
        path = root.joinpath(*dotted.split("."))
        if (path / "__init__.py").is_file():
            for source in sorted(_tree(path)):
                self._add_once(source.relative_to(root).as_posix(), source)
            return True
        source = path.with_suffix(".py")
        if source.is_file():
            self._add_once(source.relative_to(root).as_posix(), source)
            return True
        return False

    def _take(self, name: str, data: bytes) -> None:
        self.members[name] = data
        self._size += len(data)
        if self._size > MAX_UNPACKED_BYTES or len(self.members) >= MAX_MEMBERS:
            raise PluginError(
                f"The plugin needs more than {MAX_UNPACKED_BYTES >> 20} MiB or {MAX_MEMBERS:,} "
                f"files (the last was {name}). Install large packages on the workers, and read "
                "large data from the bucket."
            )

    def finish(
        self,
        kind: str,
        name: str,
        files: Sequence[str],
        cwd: Path,
        *,
        module: str,
        attribute: str | None,
    ) -> Bundle:
        """Add side files and manifest, and zip it all."""
        for given in files:
            path = Path(os.path.normpath(cwd / Path(given).expanduser()))
            member = f"{FILES}/{path.name}"
            if member in self.members:
                raise UsageError(
                    f"--files {given}: two side files are called {path.name}. Rename one."
                )
            if not path.is_file():
                problem = "is not a file" if path.exists() else "does not exist"
                raise UsageError(f"--files {given} {problem}. Give the path of a file.")
            self._take(member, path.read_bytes())
        manifest = {
            "kind": kind,
            "name": name,
            "module": module,
            "object": attribute,
            "sources": dict(sorted(self._sources.items())),
        }
        self.members[MANIFEST] = json.dumps(manifest, indent=1).encode()
        data = _zip(self.members)
        if len(data) > MAX_BUNDLE_BYTES:
            raise PluginError(
                f"The plugin and its files are {len(data) >> 20} MiB, more than the "
                f"{MAX_BUNDLE_BYTES >> 20} MiB that may travel. Put large data into the bucket."
            )
        return Bundle(data, hashlib.sha256(data).hexdigest(), name)


def _zip(members: Mapping[str, bytes]) -> bytes:
    """Zip so that equal members give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, members[name], zipfile.ZIP_DEFLATED, 6)
    return buffer.getvalue()


def _imports(source: bytes) -> Iterator[str]:
    """Yield every module that the source names in an import, wherever it stands."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return  # importing it will tell the user where
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _tree(package: Path) -> Iterator[Path]:
    """Yield the files of a package, data too, without caches and what is hidden."""
    for folder, folders, names in os.walk(package):
        folders[:] = sorted(d for d in folders if d != "__pycache__" and not d.startswith("."))
        for name in names:
            if not name.startswith(".") and not name.endswith((".pyc", ".pyo")):
                yield Path(folder, name)


def _root_of(source: Path, module: str) -> Path:
    """Return the folder from which `module` was imported."""
    depth = module.count(".") + (source.name == "__init__.py")
    return source.parents[depth]


def _modules_named_in(data: bytes) -> set[str]:
    """Return the loaded modules that a pickle names."""
    import pickletools

    strings = {argument for _, argument, _ in pickletools.genops(data) if isinstance(argument, str)}
    return {s for s in strings if s in sys.modules and s != "__main__"}
