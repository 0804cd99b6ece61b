"""The functions of a plugin: one table of their names, arguments and rules.

Everything else reads this table: the loader finds and checks functions by it, a bundle packs them,
`mrcore.run` and `Step` take them as keyword arguments, the note of the function that runs numbers
them, and a test compares the documents with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, TypedDict, Unpack, cast, get_type_hints

from mrcore.util.texts import text_of

UserFunction = Callable[..., Any]


class Wrapper(ABC):
    """A function of ours over functions of the user, which the bundle has to find in it."""

    @abstractmethod
    def functions(self) -> Sequence[object]:
        """Return the functions of the user."""


class MapMany(Wrapper):
    """A map function of ours over functions of the user, which takes many records at once.

    It is called like any other, for a single record, where errors are looked into.
    """

    def __call__(self, key: Any, value: Any) -> Iterator[Any]:
        """Return the pairs of one record."""
        return self.over((key,), (value,))

    @abstractmethod
    def over(self, keys: Iterable[Any], values: Iterable[Any]) -> Iterator[Any]:
        """Return the pairs of records, lazily: no record is read before it is needed."""

    @abstractmethod
    def begin_task(self, index: int) -> None:
        """Forget what was kept of the task before; `index` is the task's number in its stage."""

    @property
    def done(self) -> bool:
        """Return whether no further record can give a pair."""
        return False

    @property
    def is_by_record(self) -> bool:
        """Return whether each record by itself gives the same pairs, and leaves nothing behind."""
        return False


@dataclass(frozen=True, slots=True)
class Role:
    """Rules for one function of a plugin."""

    arguments: tuple[str, ...]
    """Names of the arguments of each call."""
    help: str
    """The line that the documents print beside the function."""
    needs: str = ""
    """Name of the function without which this one is never called."""
    only_shuffled: bool = False
    """Whether the function concerns pairs on their way to a reduce, and only these."""
    rival: str = ""
    """Name of another function that excludes this one."""
    rival_option: str = ""
    """Name of a field of `JobSpec` that excludes this function when it is set."""
    reason: str = ""
    """Reason why the rival excludes this function, as a clause of a sentence."""


class StepFunctions(TypedDict, total=False):
    """Functions of one step. A plugin without `steps` is one step."""

    map: Annotated[
        UserFunction,
        Role(("key", "value"), "called for each record"),
    ]
    map_finish: Annotated[
        UserFunction,
        Role(("context",), "called once after the last record of a map task", needs="map"),
    ]
    reduce: Annotated[
        UserFunction,
        Role(("key", "values"), "called for each key, with an iterator over its values"),
    ]
    reduce_finish: Annotated[
        UserFunction,
        Role(("context",), "called once after the last key of a reduce task", needs="reduce"),
    ]
    combine: Annotated[
        UserFunction,
        Role(
            ("key", "values"),
            "does on the way what it can of `reduce`'s work",
            only_shuffled=True,
            rival="sort_key",
            reason="a combiner cannot keep values in order",
        ),
    ]
    partition: Annotated[
        UserFunction,
        Role(
            ("key", "n"),
            "which of the `n` parts a key goes to, an int from 0; default: by a hash of the key",
            only_shuffled=True,
            rival_option="total_order",
            reason="--total-order decides by itself where keys go",
        ),
    ]
    sort_key: Annotated[
        UserFunction,
        Role(
            ("value",), "the order in which `reduce` sees the values of a key", only_shuffled=True
        ),
    ]


class SharedFunctions(TypedDict, total=False):
    """Functions that all steps of a plugin share."""

    setup: Annotated[
        UserFunction,
        Role(
            ("context",),
            "called once in each process before anything else; called again where it failed",
        ),
    ]


class PluginFunctions(StepFunctions, SharedFunctions, total=False):
    """Functions of a plugin of one step."""


def _roles(functions: type) -> dict[str, Role]:
    hints = get_type_hints(functions, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


STEP_FUNCTIONS: Final[Mapping[str, Role]] = _roles(StepFunctions)
SHARED_FUNCTIONS: Final[Mapping[str, Role]] = _roles(SharedFunctions)
FUNCTIONS: Final[Mapping[str, Role]] = {**SHARED_FUNCTIONS, **STEP_FUNCTIONS}
INPUTS: Final = "inputs"
"""Name of the table of input groups: map functions by patterns of file names."""
OPTIONS: Final = "options"
"""Name of the dict of job options that a plugin states."""
STATED: Final = (
    "input_format",
    "output_format",
    "columns",
    "partition_by",
    "input_columns",
    "map_only",
    "total_order",
)
"""Options that a plugin may also state by their own names."""
OTHER_FILES: Final = ""
"""Pattern of the group of all files that no other group takes."""
MAX_GROUPS: Final = 1_000
"""Input groups of one job."""
GRAPH: Final = "graph"
"""Name of a flag beside `steps`: the job states its stages, so steps need not make a chain."""
STEPS: Final = "steps"
"""Name of the list of steps in a plugin that has several."""
MAX_STEPS: Final = 999
"""Steps of one job: a stage each, and one to write the parts."""
FINISHERS: Final = ("map_finish", "reduce_finish")
"""Functions that emit what a task has kept in the plugin's own variables."""


def shape(name: str) -> str:
    """Return a function with its arguments, as in `map(key, value)`."""
    return f"{name}({', '.join(FUNCTIONS[name].arguments)})"


def all_functions(found: Mapping[str, object]) -> list[object]:
    """Return what a plugin has found by name, with the functions of its steps one by one."""
    single = [found[name] for name in FUNCTIONS if found.get(name) is not None]
    steps = found.get(STEPS)
    listed = steps if isinstance(steps, list | tuple) else ()
    inputs = found.get(INPUTS)
    groups = inputs.values() if isinstance(inputs, Mapping) else ()
    maps = [getattr(each, "map", each) for each in groups]
    named = [
        *single,
        *(each for step in listed for each in getattr(step, "functions", {}).values()),
        *(each for each in maps if each is not None),
    ]
    return [inner for each in named for inner in _inner(each)]


def _inner(function: object) -> Sequence[object]:
    """Return the functions of the user that stand behind one of ours; else the function itself."""
    if not isinstance(function, Wrapper):
        return (function,)
    return [inner for each in function.functions() for inner in _inner(each)]


@dataclass(frozen=True, slots=True)
class GroupFunctions:
    """An input group: which files are in it, and how they are read and mapped."""

    pattern: str
    """Pattern of the names of its files."""
    map: UserFunction | None = None
    """Map function of its records; None for that of the first step."""
    input_format: str = ""
    """Name of its format; empty for that of the job."""
    columns: object = None
    """Types of its columns, not yet checked; None for those that the job states."""


def plain(stated: object) -> object:
    """Return what a plugin states in types of JSON: classes by name, other objects as text."""
    if isinstance(stated, type):
        return stated.__name__.lower()
    if isinstance(stated, Mapping):
        return {str(key): plain(value) for key, value in stated.items()}
    if isinstance(stated, list | tuple):
        return [plain(value) for value in stated]
    if stated is None or isinstance(stated, str | int | float | bool):
        return stated
    return text_of(stated, repr)


class UserFunctions:
    """The functions of one plugin, ready to be called."""

    __slots__ = ("files_folder", "groups", "name", "shared", "stated", "steps", "user_paths")

    def __init__(
        self,
        *,
        steps: Sequence[StepFunctions] = (),
        groups: Sequence[GroupFunctions] = (),
        stated: Mapping[str, object] | None = None,
        files_folder: Path | None = None,
        user_paths: Sequence[str] = (),
        name: str = "",
        **functions: Unpack[PluginFunctions],
    ) -> None:
        """Take functions by name. With `steps`, only the shared ones among them are used."""
        given: Mapping[str, Any] = functions
        single = {key: given[key] for key in STEP_FUNCTIONS if given.get(key) is not None}
        shared = {key: given[key] for key in SHARED_FUNCTIONS if given.get(key) is not None}
        self.steps: tuple[StepFunctions, ...] = tuple(steps) or (cast(StepFunctions, single),)
        self.shared = cast(SharedFunctions, shared)
        self.groups = tuple(groups)
        """The input groups; without any, all inputs go to the map of the first step."""
        self.stated = dict(stated or {})
        """Values of job options that the plugin states, in types of JSON, not yet checked."""
        self.files_folder = files_folder
        """Paths of the side files, by name; None when there are none."""
        self.user_paths = tuple(user_paths)
        """The sources of the plugin, as their frames name them."""
        self.name = name

    @property
    def keeps_state(self) -> bool:
        """Return whether a task may leave something in the plugin's variables until it finishes."""
        return any(name in step for step in self.steps for name in FINISHERS)

    def described(self) -> dict[str, Any]:
        """Return what the client has to know of the plugin, in types of JSON."""
        first = self.steps[0] if not self.groups else {"map": None, **self.steps[0]}
        return {
            STEPS: [list(step) for step in (first, *self.steps[1:])],
            "stated": self.stated,
            "groups": [
                {
                    "pattern": group.pattern,
                    "has_map": group.map is not None,
                    "input_format": group.input_format,
                    "columns": plain(group.columns),
                }
                for group in self.groups
            ],
        }

    def with_steps(self, steps: Sequence[StepFunctions]) -> UserFunctions:
        """Return the same plugin with other functions of its steps."""
        return UserFunctions(
            steps=steps,
            groups=self.groups,
            stated=self.stated,
            files_folder=self.files_folder,
            user_paths=self.user_paths,
            name=self.name,
            **self.shared,
        )

    def wrapped(self, wrap: Callable[[UserFunction], UserFunction]) -> UserFunctions:
        """Return the same plugin with each function wrapped."""

        def all_of(functions: Mapping[str, Any]) -> Any:
            return {name: wrap(function) for name, function in functions.items()}

        return UserFunctions(
            steps=[all_of(step) for step in self.steps],
            groups=[
                group if group.map is None else replace(group, map=wrap(group.map))
                for group in self.groups
            ],
            stated=self.stated,
            files_folder=self.files_folder,
            user_paths=self.user_paths,
            name=self.name,
            **all_of(self.shared),
        )
