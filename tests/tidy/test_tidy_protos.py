"""The public protos follow the rules that other languages' tools expect, and are all explained."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from tests.support.repository import ROOT
from tests.tidy.tree import GENERATED

# Numbers of the fields in descriptor.proto: a path in the source info is made of them.
FILE_MESSAGE, FILE_ENUM, FILE_SERVICE = 4, 5, 6
MESSAGE_FIELD, MESSAGE_NESTED, MESSAGE_ENUM = 2, 3, 4
ENUM_VALUE = 2
SERVICE_METHOD = 2

Place = tuple[int, ...]

PASCAL = re.compile(r"([A-Z][a-z0-9]*)+")
SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Sequence[FileDescriptorProto]:
    """Every proto of the project, parsed by protoc, with its comments."""
    out = tmp_path_factory.mktemp("protos") / "set"
    names = sorted(p.relative_to(ROOT / "proto").as_posix() for p in ROOT.glob("proto/**/*.proto"))
    assert names
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", "-Iproto", "--include_source_info"),
            *(f"--descriptor_set_out={out}", *names),
        ],
        cwd=ROOT,
        check=True,
    )
    found = FileDescriptorSet.FromString(out.read_bytes()).file
    assert [f.name for f in found if f.name in names] == [f.name for f in found]
    return found


def messages(file: FileDescriptorProto) -> Iterator[tuple[Place, str, DescriptorProto]]:
    """Yield every message with its place and full name, nested ones too, map entries not."""
    waiting: list[tuple[Place, str, DescriptorProto]]
    waiting = [((FILE_MESSAGE, i), m.name, m) for i, m in enumerate(file.message_type)]
    while waiting:
        place, name, message = waiting.pop()
        yield place, name, message
        for i, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                waiting.append(((*place, MESSAGE_NESTED, i), f"{name}.{nested.name}", nested))


def enums(file: FileDescriptorProto) -> Iterator[tuple[Place, str, EnumDescriptorProto]]:
    """Yield every enum with its place and full name."""
    for i, enum in enumerate(file.enum_type):
        yield (FILE_ENUM, i), enum.name, enum
    for place, name, message in messages(file):
        for i, enum in enumerate(message.enum_type):
            yield (*place, MESSAGE_ENUM, i), f"{name}.{enum.name}", enum


def declared(file: FileDescriptorProto) -> Iterator[tuple[Place, str]]:
    """Yield the place and name of everything that has to be explained."""
    for place, name, message in messages(file):
        yield place, name
        for i, field in enumerate(message.field):
            yield (*place, MESSAGE_FIELD, i), f"{name}.{field.name}"
    for place, name, enum in enums(file):
        yield place, name
        for i, value in enumerate(enum.value):
            yield (*place, ENUM_VALUE, i), f"{name}.{value.name}"
    for i, service in enumerate(file.service):
        yield (FILE_SERVICE, i), service.name
        for j, method in enumerate(service.method):
            yield (FILE_SERVICE, i, SERVICE_METHOD, j), f"{service.name}.{method.name}"


def test_package_is_the_folder_and_has_a_version(files: Sequence[FileDescriptorProto]) -> None:
    for file in files:
        assert file.syntax == "proto3", file.name
        assert file.package == Path(file.name).parent.as_posix().replace("/", "."), file.name
        assert re.fullmatch(r"[a-z.]+\.v[0-9]+", file.package), file.name
        assert SNAKE.fullmatch(Path(file.name).stem), file.name


def test_every_declaration_is_explained(files: Sequence[FileDescriptorProto]) -> None:
    silent = []
    for file in files:
        comments = {
            tuple(at.path): at.leading_comments.strip() for at in file.source_code_info.location
        }
        silent += [f"{file.name}: {name}" for at, name in declared(file) if not comments.get(at)]
    assert not silent


def test_names_are_written_as_buf_wants_them(files: Sequence[FileDescriptorProto]) -> None:
    wrong = []
    for file in files:
        for _, name, message in messages(file):
            wrong += [] if PASCAL.fullmatch(message.name) else [name]
            wrong += [f"{name}.{f.name}" for f in message.field if not SNAKE.fullmatch(f.name)]
        wrong += [s.name for s in file.service if not s.name.endswith("Service")]
    assert not wrong


def test_enums_begin_with_unspecified_and_their_prefix(
    files: Sequence[FileDescriptorProto],
) -> None:
    seen = 0
    for file in files:
        for _, name, enum in enums(file):
            seen += 1
            prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper()
            assert enum.value[0].number == 0
            assert enum.value[0].name == f"{prefix}_UNSPECIFIED", name
            assert all(v.name.startswith(f"{prefix}_") for v in enum.value), name
    assert seen


def test_every_rpc_has_a_request_and_a_response_of_its_own(
    files: Sequence[FileDescriptorProto],
) -> None:
    used: list[str] = []
    for file in files:
        for service in file.service:
            for method in service.method:
                assert method.input_type == f".{file.package}.{method.name}Request"
                assert method.output_type == f".{file.package}.{method.name}Response"
                used += [method.input_type, method.output_type]
    assert used
    assert len(used) == len(set(used))


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    subprocess.run(
        ["scripts/gen_protos", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable},
        check=True,
    )
    fresh = {p.name: p.read_text() for p in (tmp_path / "mrcore/rpc/v1").iterdir()}
    committed = {p.name: p.read_text() for p in GENERATED.iterdir() if p.suffix in {".py", ".pyi"}}
    assert committed.pop("__init__.py") is not None
    assert committed.keys() == fresh.keys()
    stale = sorted(name for name in fresh if fresh[name] != committed[name])
    assert not stale, "run scripts/gen_protos"
