"""``mogul.yaml``, changed: only the lines that a change is about; all others stay as they are, to the letter.

ruamel.yaml says where each key and value stands; what is between is cut, replaced or added as text. (Written anew by
ruamel, a file loses comments at what is removed, and its indentation, line breaks and quotes everywhere.) Each
change is read again, and refused where the file would not say exactly what was meant. No Dagster.
"""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node

from mogul_assets.errors import ConfigurationError
from mogul_assets.store import durable

ENTRIES = "destinations"
INDENT = "  "


def with_entry(text: str, name: str, settings: Mapping[str, Any]) -> str:
    """The text with a destination more, after those that there are."""

    def changed(data: dict[str, Any]) -> None:
        data[ENTRIES] = {**(data.get(ENTRIES) or {}), name: dict(settings)}

    return _as_meant(text, _with_entry(text, name, settings), changed)


def without_entry(text: str, name: str) -> str:
    """The text without a destination: its lines and the comments in them; a comment above it stays."""
    return _as_meant(text, _cut(text, _at(text, ENTRIES), name), lambda data: data[ENTRIES].pop(name))


def with_setting(text: str, name: str, key: str, value: Any) -> str:
    """The text with one setting of a destination, in the place of what it was, or after the others."""
    return _as_meant(
        text,
        _put(text, _at(text, ENTRIES, name), key, value),
        lambda data: data[ENTRIES][name].__setitem__(key, value),
    )


def without_setting(text: str, name: str, key: str) -> str:
    """The text without one setting of a destination."""
    return _as_meant(text, _cut(text, _at(text, ENTRIES, name), key), lambda data: data[ENTRIES][name].pop(key))


def set_paused(file: Path, name: str, *, paused: bool) -> None:
    """Write at a destination that no schedule and no sensor delivers to it, or take that back.

    Raises:
        ConfigurationError: the file cannot be read, or was changed meanwhile.
        StoreUnwritable: its folder is full, or may not be written to.
    """
    before = read(file)
    after = with_setting(before, name, "paused", value=True) if paused else without_setting(before, name, "paused")
    save(file, before, after)


def read(file: Path) -> str:
    """The file with its own ends of lines.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"cannot read {file}: {type(error).__name__}", remedy="check the file") from None


def save(file: Path, before: str, after: str) -> None:
    """Put ``after`` in the place of ``before`` at once; whoever reads it sees the old whole or the new whole.

    Raises:
        ConfigurationError: the file is not ``before`` any more.
        StoreUnwritable: its folder is full, or may not be written to.
    """
    file = file.resolve()  # a link stays one
    with durable.writing_to(file), _alone(file.parent):
        if read(file) != before:
            raise ConfigurationError(f"{file.name} was changed meanwhile; nothing was written", remedy="run it again")
        durable.replace(file, after.encode(), mode=file.stat().st_mode & 0o7777)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: between comparing and replacing another could write, and its change would be lost."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# -- as text --------------------------------------------------------------------------------------------------


def _with_entry(text: str, name: str, settings: Mapping[str, Any]) -> str:
    root = _at(text)
    held = _pairs(root).get(ENTRIES)
    if held is not None and held[1].value and _flows(held[1]):
        return _put(text, _at(text, ENTRIES), name, dict(settings))
    if root.flow_style:
        return _put(text, root, ENTRIES, {name: dict(settings)})
    newline = _newline(text)
    if held is None:
        text = newline.join((_ended(text), f"{ENTRIES}:", ""))
    elif not held[1].value:  # nothing stands there, or {}
        text = text[: _colon(text, held[0])] + text[_end(text, *held) :]
    held_by, mapping = _pairs(_at(text))[ENTRIES]
    keys = [key for key, _ in mapping.value] if isinstance(mapping, MappingNode) else []
    indent = " " * keys[0].start_mark.column if keys else INDENT
    lines = [f"{indent}{name}:", *(f"{indent}{INDENT}{key}: {_inline(value)}" for key, value in settings.items())]
    apart = len(keys) > 1 and not text[: _line_start(text, keys[-1].start_mark.index)].splitlines()[-1].strip()
    return _inserted(text, _line_end(text, _end(text, held_by, mapping)), [*([""] if apart else []), *lines])


def _put(text: str, mapping: MappingNode, key: str, value: Any) -> str:
    there = _pairs(mapping).get(key)
    if there is not None:
        name, node = there
        start, space = (node.start_mark.index, "") if _flows(node) else (_colon(text, name), " ")
        return text[:start] + space + _inline(value) + text[_end(text, name, node) :]
    line = f"{key}: {_inline(value)}"
    if not mapping.flow_style:
        indent = " " * mapping.value[0][0].start_mark.column
        return _inserted(text, _line_end(text, _end(text, *mapping.value[-1])), [indent + line])
    if not mapping.value:
        start = mapping.start_mark.index + 1
        return text[:start] + line + text[start:]
    end = _end(text, *mapping.value[-1])
    return f"{text[:end]}, {line}{text[end:]}"


def _cut(text: str, mapping: MappingNode, key: str) -> str:
    names = [name.value for name, _ in mapping.value]
    if key not in names:
        raise ConfigurationError(f"there is no '{key}' there", remedy=f"there are: {', '.join(names)}")
    at = names.index(key)
    name, node = mapping.value[at]
    start, end = name.start_mark.index, _end(text, name, node)
    if mapping.flow_style:
        if at + 1 < len(names):
            end = mapping.value[at + 1][0].start_mark.index
        elif at:
            start = _end(text, *mapping.value[at - 1])
        return text[:start] + text[end:]
    before, after = text[: _line_start(text, start)], text[_line_end(text, end) :]
    rest = after.splitlines(keepends=True)
    if rest and not rest[0].strip() and before.splitlines()[-1:] and not before.splitlines()[-1].strip():
        after = "".join(rest[1:])  # of two empty lines one stays
    return before + after


def _flows(node: Node) -> bool:
    """Whether the node stands between its own first and last letter: no block, and not nothing."""
    if isinstance(node, CollectionNode):
        return bool(node.flow_style)
    return bool(node.end_mark.index > node.start_mark.index)


def _at(text: str, *path: str) -> MappingNode:
    """The mapping under these keys.

    Raises:
        ConfigurationError: something else is there.
    """
    node: Node | None = YAML(typ="rt").compose(text)
    for key in path:
        node = _pairs(node)[key][1] if isinstance(node, MappingNode) and key in _pairs(node) else None
    if not isinstance(node, MappingNode):
        raise ConfigurationError(f"{'.'.join(path) or 'the file'} is not a mapping", remedy="change it by hand")
    return node


def _pairs(mapping: Node) -> dict[str, tuple[Node, Node]]:
    return {name.value: (name, node) for name, node in mapping.value}


def _end(text: str, name: Node, node: Node) -> int:
    """Where the text of a key's value ends: ruamel counts the comments that follow to a block, and to nothing."""
    while isinstance(node, CollectionNode) and not _flows(node) and node.value:
        if isinstance(node, MappingNode):
            name, node = node.value[-1]
        else:
            node = node.value[-1]
    if not node.value and not _flows(node):
        return _colon(text, name)
    return len(text[: node.end_mark.index].rstrip())


def _colon(text: str, name: Node) -> int:
    """Where the value of a key may begin."""
    return text.index(":", name.end_mark.index) + 1


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _line_end(text: str, index: int) -> int:
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _inserted(text: str, place: int, lines: list[str]) -> str:
    newline = _newline(text)
    before = text[:place]
    return (before if before.endswith("\n") else before + newline) + newline.join((*lines, "")) + text[place:]


def _ended(text: str) -> str:
    return text if text.endswith("\n") else text + _newline(text)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _inline(value: Any) -> str:
    """The value on one line, as it may stand among others."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = True
    yaml.width = 1_000_000
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    out = io.StringIO()
    yaml.dump({"k": value}, out)
    return out.getvalue().strip().removeprefix("{k: ").removesuffix("}")


def _as_meant(before: str, after: str, change: Callable[[dict[str, Any]], Any]) -> str:
    """``after``, where it says what ``before`` does but for the change: an alias or a tag may stand in the way."""
    meant = _data(before)
    change(meant)
    try:
        found = _data(after)
    except Exception:  # noqa: BLE001 - whatever a reader of YAML finds wrong with it
        found = None
    if found is None or _without_nothing(found) != _without_nothing(meant):
        raise ConfigurationError(
            "the file is written in a way that cannot be changed in place; nothing was written",
            remedy="change it by hand, then  mogul check",
        )
    return after


def _data(text: str) -> Any:
    return _apart(YAML(typ="safe", pure=True).load(text))


def _apart(data: Any) -> Any:
    """The data with nothing in two places at once, as an alias has it."""
    if isinstance(data, dict):
        return {key: _apart(value) for key, value in data.items()}
    return [_apart(value) for value in data] if isinstance(data, list) else data


def _without_nothing(data: dict[str, Any]) -> dict[str, Any]:
    """No destinations are none, however that is written."""
    return {**data, ENTRIES: data.get(ENTRIES) or {}}
