"""Small files, whole: written atomically, and YAML read with the line of every key at hand.

Knows nothing of what the files mean.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tuner.errors import UserError

Path_ = tuple[str | int, ...]
"""Where a value lies in a document: the keys and the positions that lead to it."""

_PLAIN = "tag:yaml.org,2002:"
_TAGS = frozenset(_PLAIN + kind for kind in ("null", "bool", "int", "float", "str", "seq", "map"))
# YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema). PyYAML's own rules are
# those of YAML 1.1, where `1e-6` is text, `no` is false, `010` is 8 and `1:30` is 90.
_CORE: tuple[tuple[str, str, str], ...] = (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
)


class YamlLoader(yaml.SafeLoader):
    """Plain data only: YAML 1.2's scalars (`1e-6` is a number), no aliases, no key twice."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem=f"*{event.anchor} is an alias, and aliases are not read; "
                "write the value out",
                problem_mark=event.start_mark,
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        if node is not None and node.tag not in _TAGS:
            raise yaml.MarkedYAMLError(
                problem=f"the tag {node.tag} is not read; leave it out",
                problem_mark=node.start_mark,
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.MarkedYAMLError(
                    problem="a key must be a single value", problem_mark=key_node.start_mark
                )
            if key in lines:
                raise yaml.MarkedYAMLError(
                    problem=f"{key} is given twice (first in line {lines[key]}); leave one",
                    problem_mark=key_node.start_mark,
                )
            lines[key] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep=deep)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        base = {"0x": 16, "0o": 8}.get(text[:2], 10)
        return int(text, base)


class YamlDumper(yaml.SafeDumper):
    """Plain data, written so that YAML 1.1 and 1.2 read the same, and without aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


YamlLoader.yaml_implicit_resolvers = {}  # without PyYAML's own
YamlLoader.add_constructor(_PLAIN + "int", YamlLoader.construct_integer)
for _kind, _pattern, _first in _CORE:
    _match = re.compile(f"^(?:{_pattern})$")
    _letters = [*_first, ""] if _kind == "null" else list(_first)
    YamlLoader.add_implicit_resolver(_PLAIN + _kind, _match, _letters)
    YamlDumper.add_implicit_resolver(_PLAIN + _kind, _match, _letters)


@dataclass(frozen=True)
class Document:
    """A YAML document: its plain value, and the line on which each key and item stands."""

    value: Any
    source: str
    lines: Mapping[Path_, int] = field(default_factory=dict)

    def where(self, *path: str | int) -> str:
        """`file:line` of the value at `path`, or of the nearest thing that encloses it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return f"{self.source}:{self.lines[path[:end]]}"
        return self.source


def read_document(path: str | Path) -> Document:
    """Read a YAML file. Raises UserError naming file and line for whatever is wrong with it."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read ({reason}); check the path") from None
    return parse_document(text, str(path))


def parse_document(text: str, source: str) -> Document:
    """Read YAML text; `source` is how errors call it. Raises UserError."""
    loader: YamlLoader | None = None
    try:
        loader = YamlLoader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(None, source)
        lines: dict[Path_, int] = {}
        value = loader.construct_document(node)
        _mark(loader, node, (), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{source}:{mark.line + 1}" if mark else source
        problem = " ".join(f"{error.problem or error.context}".split())
        raise UserError(f"{at}: {problem}") from None
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise UserError(f"{source}: {problem}") from None
    except RecursionError:
        raise UserError(f"{source}: is nested too deeply to be read; flatten it") from None
    except (ValueError, IndexError) as error:
        # An explicit tag that the text does not fit (`!!int abc`), or a number too long for Python.
        raise UserError(f"{source}: a value cannot be read: {error}") from None
    finally:
        if loader is not None:
            loader.dispose()
    return Document(value, source, lines)


def _mark(loader: YamlLoader, node: yaml.Node, path: Path_, lines: dict[Path_, int]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            inner = (*path, loader.construct_object(key_node, deep=True))
            lines[inner] = key_node.start_mark.line + 1
            _mark(loader, value_node, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            _mark(loader, item, (*path, position), lines)


def read_yaml(path: str | Path) -> Any:
    """The plain value of a YAML file; None when it is empty. Raises UserError naming file:line."""
    return read_document(path).value


def read_scalar(text: str) -> Any:
    """What `text` means as a YAML scalar: `2e-5` a number, `true` a truth value, `a: b` text."""
    try:
        value = parse_document(text, "value").value
    except UserError:
        return text
    return text if isinstance(value, dict | list) else value


def plain(value: Any) -> Any:
    """`value` as dicts, lists and scalars: mappings, tuples, paths and numpy scalars are turned."""
    if isinstance(value, bool | int | float | str) or value is None:
        # numpy's float64 is a float, and YAML would not write it.
        return value if type(value) in (bool, int, float, str) or value is None else _base(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} of {type(value).__name__} is not plain data")


def _base(value: bool | int | float | str) -> bool | int | float | str:
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(getattr(value, "value", value))
    return value


def finite(value: Any) -> Any:
    """`value` as plain data in which NaN and the infinities are None: JSON has no word for them."""
    return _finite(plain(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one, never a half.

    Raises OSError that names the path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk names none; the temporary one helps nobody
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # A rename lasts through a power cut only once its folder is on disk, too.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems refuse to sync a folder
    finally:
        os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON atomically; NaN and the infinities become null."""
    text = json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_yaml(path: str | Path, value: Any) -> None:
    """Write YAML atomically, keys in the order given; `read_yaml` gives the same value back."""
    text = yaml.dump(
        plain(value), Dumper=YamlDumper, sort_keys=False, allow_unicode=True, width=100
    )
    write_text(path, text)
