"""Damage to files: in what they say, and in how it is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from random import Random
from typing import Any, TypeAlias

import yaml

Data: TypeAlias = Any
"""What JSON and YAML hold."""

TEXTS = (
    *("", " ", "-", "a", "x" * 5000, "$x^2$", "$", "../../etc/passwd", "a\0b", "\u202eabc", "😀"),
    *("\x1b[31mred\x1b[0m", "a\n\n# Heading\n", "![i](http://e/i.png)", "<img src=x>", "a|b", "`"),
    *("vicunna-7b", "vicuna-7b", "llava-1.5-7b", "clip-vit-l-336", "v100", "a100", "fp16", "int4"),
    *("nan", "inf", "1e5", "017", "12:30:45", "0x1f", "1_000", "no", "2026-11-26", "null", "~"),
    *("w4a16", "w99a99", "w" + "9" * 3000, "kind", "lmm", "gpu", "cpu", "language-model", "é"),
)
NUMBERS: tuple[Any, ...] = (
    *(
        0,
        1,
        2,
        3,
        7,
        16,
        -1,
        -2,
        10**6,
        10**9,
        10**12,
        2**53 + 1,
        2**63,
        2**64,
        10**400,
        -(10**400),
    ),
    *(0.0, -0.0, 0.5, 1.5, -1.5, 1e-3, 1e3, 1e-12, 1e-30, 1e-300, 5e-324, 1e30, 1e300, 1e308),
    *(float("inf"), float("-inf"), float("nan")),
)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [1], ["a"], {"a": 1}, [[[]]], [0.1, 0.2])
SCRAPS = (
    *(
        "!!timestamp x",
        "!!python/object:os.system 1",
        "!!int x",
        "!!binary x",
        "!own x",
        "*a",
        "&a ",
    ),
    *("[" * 3000, "{" * 3000, "- " * 3000, "? ", ": ", "#", "'", '"', "|", ">", "%YAML 9.9", "---"),
    *("\t", "\r", "\0", "\x1b", "\x85", "\u2028", "<<: {a: 1}", "9" * 5000, "1e999", ".nan", ","),
)


def damaged(data: Data, draw: Random) -> Data:
    """A copy with one to three changes of what it says."""
    data = deepcopy(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        data = _changed(data, draw)
    return data


def stretched(data: Data, draw: Random) -> Data:
    """A copy with some numbers made larger or smaller: most still may be."""
    data = deepcopy(data)
    numbers = [path for path in places(data) if type(_at(data, path)) in (int, float)]
    for path in draw.sample(numbers, min(len(numbers), draw.choice((1, 1, 2, 3, 8, 30)))):
        owner, value = _at(data, path[:-1]), _at(data, path)
        decades = draw.choice((1, 3, 6, 12))
        factor = 10 ** draw.uniform(-decades, decades)
        owner[path[-1]] = max(1, round(value * factor)) if type(value) is int else value * factor
    return data


def _at(data: Data, path: tuple[Any, ...]) -> Data:
    for key in path:
        data = data[key]
    return data


def scrawled(text: bytes, draw: Random) -> bytes:
    """The text with one to three changes of how it is written."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        text = draw.choice(_SCRAWLS)(text, draw)
    return text


def places(data: Data, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def hostile(draw: Random) -> Data:
    """A value that nobody means."""
    return deepcopy(draw.choice(draw.choice((TEXTS, NUMBERS, NUMBERS, OTHERS))))


def _changed(data: Data, draw: Random) -> Data:
    known = list(places(data))
    if not known:
        return hostile(draw)
    *outer, key = draw.choice(known)
    owner = _at(data, tuple(outer))
    value = owner[key]
    match draw.randrange(8):
        case 0:
            del owner[key]
        case 1 if isinstance(owner, dict):
            owner[draw.choice(TEXTS)] = owner.pop(key)
        case 2 if isinstance(owner, dict):
            owner[draw.choice(TEXTS)] = hostile(draw)
        case 3 if isinstance(value, int | float) and not isinstance(value, bool):
            owner[key] = value * draw.choice((-1, 0, 10, 1000, 10**6, 0.5, 0.1, 1e-9, 1e30))
        case 4 if isinstance(value, list):
            owner[key] = value[: draw.randrange(len(value) + 1)] * draw.choice((1, 1, 2))
        case 5:  # what stands elsewhere in the same file
            other: Data = data
            for step in draw.choice(known):
                other = other[step] if isinstance(other, dict | list) else other
            owner[key] = deepcopy(other)
        case _:
            owner[key] = hostile(draw)
    return data


def _cut(text: bytes, draw: Random) -> bytes:
    return text[: draw.randrange(len(text) + 1)]


def _without(text: bytes, draw: Random) -> bytes:
    first = draw.randrange(len(text) + 1)
    return text[:first] + text[first + draw.choice((1, 1, 5, 50)) :]


def _with(text: bytes, draw: Random) -> bytes:
    at = draw.randrange(len(text) + 1)
    scrap = draw.choice((*SCRAPS, *TEXTS)).encode("utf-8", "surrogatepass")
    return text[:at] + scrap + text[at:]


def _with_bytes(text: bytes, draw: Random) -> bytes:
    at = draw.randrange(len(text) + 1)
    return text[:at] + draw.randbytes(draw.choice((1, 1, 4))) + text[at:]


def _line_twice(text: bytes, draw: Random) -> bytes:
    lines = text.split(b"\n")
    line = draw.choice(lines)
    lines.insert(draw.randrange(len(lines) + 1), line)
    return b"\n".join(lines)


def _indented(text: bytes, draw: Random) -> bytes:
    lines = text.split(b"\n")
    at = draw.randrange(len(lines))
    lines[at] = draw.choice((b" ", b"  ", b"\t")) + lines[at]
    return b"\n".join(lines)


def _value(text: bytes, draw: Random) -> bytes:
    """Another scalar behind a colon."""
    parts = text.split(b": ")
    if len(parts) < 2:
        return text
    at = draw.randrange(1, len(parts))
    _, line, rest = parts[at].partition(b"\n")
    scrap = draw.choice((*SCRAPS, *TEXTS)).encode("utf-8", "surrogatepass")
    parts[at] = scrap + line + rest
    return b": ".join(parts)


_SCRAWLS: tuple[Callable[[bytes, Random], bytes], ...] = (
    *(_cut, _without, _with, _with_bytes, _line_twice, _indented, _value, _value, _value),
    lambda text, draw: b"\xef\xbb\xbf" + text,
    lambda text, draw: text.replace(b"\n", b"\r\n"),
    lambda text, draw: text.decode("utf-8", "replace").encode("utf-16"),
)


def as_yaml(data: Data) -> bytes:
    """Data as a file, whatever they are."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode("utf-8", "replace")


def as_json(data: Data) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
