"""YAML, in and out: mappings, sequences and the scalars of YAML 1.2's core schema.

What PyYAML reads is YAML 1.1, to which 12:30:45 is 45045, 017 is 15, `no` is false, 1e5 is text and
2026-11-26 no text. In 1.2 a number looks like one and everything else is text.
https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError

_DEEPEST = 40
"""Levels of nesting: specs have five, and the parser overruns its stack at some ten thousand."""
_TAG = "tag:yaml.org,2002:"


def _int(text: str) -> int:
    digits = text.lstrip("+-")
    base = {"0o": 8, "0x": 16}.get(digits[:2])
    return int(digits[2:], base) if base else int(text)


def _float(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "null": (r"~|null|Null|NULL|", lambda _: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", _int),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        lambda text: _float(text.lower()),
    ),
}
"""Tag → what it looks like, in the order in which a scalar is tried, and what is made of it."""


_FORMS = {tag: re.compile(f"^(?:{form})$") for tag, (form, _) in _SCALARS.items()}
_CORE: dict[None, list[Any]] = {None: [(_TAG + tag, form) for tag, form in _FORMS.items()]}
"""As PyYAML has it: by a scalar's first letter, or by None whatever that is."""

_Fast: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Fast):  # type: ignore[misc]  # the C loader has no stubs
    """Keys are text, each given once; a tag makes nothing but the values of JSON."""

    yaml_implicit_resolvers: ClassVar[Any] = _CORE
    yaml_constructors: ClassVar[Any] = {}
    _depth = 0

    def descend_resolver(self, *place: Any) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ConstructorError(None, None, f"nested more than {_DEEPEST} levels deep", None)
        super().descend_resolver(*place)

    def ascend_resolver(self) -> None:
        self._depth -= 1
        super().ascend_resolver()

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):  # it was tagged so by hand
            raise ConstructorError(None, None, "expected a mapping", node.start_mark)
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key.value, str):
                raise ConstructorError(None, None, "a key must be a plain word", key.start_mark)
            if key.value in mapping:
                raise ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            mapping[key.value] = self.construct_object(value, deep=deep)
        return mapping


def _scalar(tag: str) -> Callable[[Any, Any], Any]:
    pattern, made = _FORMS[tag], _SCALARS[tag][1]

    def construct(loader: Any, node: Any) -> Any:
        text = loader.construct_scalar(node)
        if not pattern.fullmatch(text):  # it was tagged so by hand
            raise ConstructorError(None, None, f"{text!r} is no {tag}", node.start_mark)
        try:
            return made(text)
        except ValueError:  # more digits than Python reads
            raise ConstructorError(None, None, "has too many digits", node.start_mark) from None

    return construct


def _unknown(loader: Any, node: Any) -> Any:
    raise ConstructorError(
        None, None, f"the tag {node.tag.removeprefix(_TAG)!r} has no meaning here", node.start_mark
    )


for _name in _SCALARS:
    _Loader.add_constructor(_TAG + _name, _scalar(_name))
_Loader.add_constructor(_TAG + "str", yaml.SafeLoader.construct_yaml_str)
_Loader.add_constructor(_TAG + "seq", yaml.SafeLoader.construct_yaml_seq)
_Loader.add_constructor(_TAG + "map", yaml.SafeLoader.construct_yaml_map)
_Loader.add_constructor(None, _unknown)


class _Dumper(yaml.SafeDumper):
    """Quotes what would be read as anything but text, here or by a reader of YAML 1.1."""


_Dumper.yaml_implicit_resolvers = {**yaml.SafeDumper.yaml_implicit_resolvers, **_CORE}


def load(text: bytes) -> Any:
    """What a document says. Raises yaml.YAMLError, with the line where it breaks."""
    return yaml.load(text, Loader=_Loader)


def dump(value: Any, *, in_lines: bool = False) -> str:
    """A document that says it, keys in their order; `in_lines`, each on a line of its own."""
    return str(
        yaml.dump(
            value,
            Dumper=_Dumper,
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=False if in_lines else None,
            width=100,
        )
    )
