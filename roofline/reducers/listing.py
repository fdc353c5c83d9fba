"""What reducers there are: a frame of all, and the options of one with what their fields say."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import fields

from roofline.reducers import REDUCERS
from roofline.reducers.base import LLAVA_BLOCKS, LLAVA_PATCHES, Reducer, expected, written

if TYPE_CHECKING:
    import pandas as pd

"""ViT blocks that LLaVA-1.5 runs."""


class ReducerOption(Struct, frozen=True, kw_only=True):
    """One option, as it is written behind a reducer's name."""

    name: str
    default: str
    takes: str
    """What values it may have, in words."""
    help: str
    """What its field says; empty where there is no source to read."""


def reducers() -> pd.DataFrame:
    """All reducers, by name: what they are, where they act, what they leave, and their options.

    default_visual_tokens: of LLaVA-1.5's 576. cost: whether its own work is stated, traced or none.
    """
    import pandas as pd

    rows = {
        reducer.name: {
            "title": reducer.title,
            "site": reducer.site,
            "default_visual_tokens": default_of_llava(reducer),
            "cost": reducer.cost,
            "options": ", ".join(f"{o.name}={o.default}" for o in options_of(reducer)),
            "source": reducer.source,
            "default_source": reducer.default_source,
        }
        for reducer in sorted(REDUCERS, key=lambda reducer: reducer.name)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("reducer")


def default_of_llava(reducer: Reducer) -> int:
    """Visual tokens that it leaves of LLaVA-1.5's 576 where no count is asked for."""
    return reducer.default_kept(LLAVA_PATCHES, LLAVA_BLOCKS)


def options_of(reducer: Reducer) -> list[ReducerOption]:
    """Its options with their defaults, in order."""
    helps = _field_docs(type(reducer))
    return [
        ReducerOption(
            name=field.name,
            default=written(field.default),
            takes=expected(field.type),
            help=helps.get(field.name, ""),
        )
        for field in fields(reducer)
    ]


def _field_docs(kind: type[Any]) -> dict[str, str]:
    """The string below each field of a class or of those that it is built on."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[: kind.__mro__.index(Reducer)]):
        try:
            (tree,) = ast.parse(dedent(inspect.getsource(base))).body
        except (OSError, TypeError, SyntaxError, ValueError):  # typed at a prompt
            continue
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, below in pairwise(body):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = " ".join(text.split())
    return found
