"""First step of reading a register: bytes become plain mappings, lists and text, or faults.

The YAML here is smaller than YAML, so that a file means what it looks like and cannot do harm:

- every scalar is text; the models give it its type. YAML's own guesses would read Norway's ``NO`` as false;
- tags, anchors and aliases are refused: nothing is constructed, nothing is multiplied;
- a key written twice is a fault, not a silent choice of the last;
- size and depth are bounded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from schemas.errors import Fault

SIZE_LIMIT_BYTES: Final = 256 * 1024
DEPTH_LIMIT: Final = 16
WHOLE_FILE: Final = "(file)"

_PLAIN_TAGS: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str"))


def read_mapping(path: Path) -> tuple[dict[str, Any], tuple[Fault, ...]]:
    """The file's top mapping, and every fault found on the way; empty where the file as a whole is at fault."""
    try:
        if not path.is_file():
            return _unreadable("no such file")
        with path.open("rb") as stream:
            content = stream.read(SIZE_LIMIT_BYTES + 1)
    except OSError as error:
        return _unreadable(f"cannot be read: {error.strerror or type(error).__name__}")
    return parse_mapping(content)


def parse_mapping(content: bytes) -> tuple[dict[str, Any], tuple[Fault, ...]]:
    """As read_mapping, from bytes."""
    if len(content) > SIZE_LIMIT_BYTES:
        return _unreadable(f"larger than {SIZE_LIMIT_BYTES // 1024} KiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _unreadable("not UTF-8 text")
    try:
        root = _compose(text)
    except yaml.YAMLError as error:
        return _unreadable(_what_is_wrong(error))
    if not isinstance(root, MappingNode):
        return _unreadable("empty" if root is None else "not a mapping")
    faults: list[Fault] = []
    mapping: dict[str, Any] = _plain(root, (), faults)
    return mapping, tuple(faults)


class _PlainLoader(yaml.BaseLoader):
    """Composes nodes without guessing types; refuses what a register has no use for."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # types-pyyaml leaves the parser untyped
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not allowed", event.start_mark)
        if self.depth >= DEPTH_LIMIT:
            raise yaml.composer.ComposerError(None, None, f"nested deeper than {DEPTH_LIMIT}", event.start_mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _compose(text: str) -> Node | None:
    loader = _PlainLoader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _what_is_wrong(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"not YAML a register may use: {error.problem} (line {error.problem_mark.line + 1})"
    return "not YAML a register may use"


def _unreadable(problem: str) -> tuple[dict[str, Any], tuple[Fault, ...]]:
    return {}, (Fault(WHOLE_FILE, problem),)


def _plain(node: Node, path: tuple[str, ...], faults: list[Fault]) -> Any:
    if node.tag not in _PLAIN_TAGS:
        faults.append(Fault(dotted(path), "tags are not allowed"))
    if isinstance(node, MappingNode):
        return _mapping(node, path, faults)
    if isinstance(node, SequenceNode):
        return [_plain(item, (*path, str(place)), faults) for place, item in enumerate(node.value)]
    return node.value


def _mapping(node: MappingNode, path: tuple[str, ...], faults: list[Fault]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, ScalarNode) or key_node.tag not in _PLAIN_TAGS:
            faults.append(Fault(dotted(path), "a key must be plain text"))
            continue
        key = key_node.value
        if key in entries:
            faults.append(Fault(dotted((*path, key)), f"written twice (line {key_node.start_mark.line + 1})"))
        entries[key] = _plain(value_node, (*path, key), faults)
    return entries


def dotted(path: tuple[str, ...]) -> str:
    """A path as people read it, ``cases.contact.purposes``; safe to print whatever the file held."""
    return ".".join(shown(part) for part in path) or WHOLE_FILE


def shown(text: str) -> str:
    """At most sixty characters of ``text``, control characters escaped: a fault is printed on someone's terminal."""
    short = text if len(text) <= 60 else f"{text[:57]}..."
    return short if short.isprintable() else short.encode("unicode_escape").decode("ascii")
