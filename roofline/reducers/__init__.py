"""Methods that reduce visual tokens: what each leaves, and what it costs itself.

No torch: `torch_side.reduce` runs them.

>>> find("fastv:k=3").full_llm_layers
3

A module of this package holds one reducer or a family, and registers it. The package itself gives a
frame of all when it is called, `roofline.reducers()`.
"""

from __future__ import annotations

import re
import reprlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from roofline.errors import ScenarioError
from roofline.reducers.base import OWN_METHODS, Reducer, ReductionTask
from roofline.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Reducer", "ReductionTask", "find", "names", "register_reducer"]

REDUCERS: Registry[Reducer] = Registry("reducer", __name__, group="roofline.reducers")


def register_reducer(
    reducer: Reducer, reduce: Callable[..., Any] | None = None, **method: Any
) -> Reducer:
    """Make a reducer of your own known by its name, before any other of that name; returns it.

    reduce: the method of a reducer of features, as `Method.reduce` of the torch side. method:
        further fields of `Method`: `needs_attention`, `attention_block`, or `blocks` or `llm` of a
        method inside the ViT or the LLM. With none of them the reducer is priced but cannot run.

    Raises TypeError for a reducer that does not say what each must say of itself, ValueError for a
    name that could not be written behind `--reducer`.
    """
    lacking = [name for name in _SAID_BY_ALL if not hasattr(reducer, name)]
    if type(reducer).default_kept is Reducer.default_kept:
        lacking.append("default_kept")
    if lacking:
        raise TypeError(f"{type(reducer).__name__} lacks {', '.join(lacking)}")
    if not _NAME.fullmatch(reducer.name):
        raise ValueError(f"{reducer.name!r} is no name of a reducer: letters, digits, +, - and _")
    REDUCERS.names()  # what ships comes before it
    if reduce is not None:
        method["reduce"] = reduce
    if method:
        OWN_METHODS.register(reducer.name, method)
    return REDUCERS.register(reducer.name, reducer)


_NAME = re.compile(r"[A-Za-z][\w+-]*")
_SAID_BY_ALL = ("name", "title", "source", "site", "default_source")


def names() -> tuple[str, ...]:
    """All names that `find` knows, without options, in alphabetical order."""
    return tuple(sorted(REDUCERS.names()))


def find(reducer: str | Reducer) -> Reducer:
    """A reducer as written: its name, and options behind colons, `name:option=value:option=value`.

    A list is written with commas, `evit:stages=6,12,18`, and no value as `none`. A Reducer is
    returned as it is.

    Raises UnknownNameError for names of reducers and options, ScenarioError for values.
    """
    if isinstance(reducer, Reducer):
        return reducer
    if not isinstance(reducer, str):
        raise ScenarioError(f"reducer is one name at a time, not {reprlib.repr(reducer)}")
    name, *options = reducer.split(":")
    return REDUCERS.find(name).parsed(options)


class CallablePackage(ModuleType):
    """What `roofline.reducers` is: a package that gives a frame of all when it is called."""

    find, names = staticmethod(find), staticmethod(names)
    register_reducer = staticmethod(register_reducer)

    def __call__(self) -> pd.DataFrame:
        """All reducers, by name: what they are, where they act, what they leave, their options."""
        from roofline.reducers.listing import reducers

        return reducers()


sys.modules[__name__].__class__ = CallablePackage
