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
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_args

from roofline.errors import InputError, ScenarioError
from roofline.reducers.base import (
    LLAVA_BLOCKS,
    LLAVA_PATCHES,
    OWN_METHODS,
    Reducer,
    ReductionTask,
    Site,
)
from roofline.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Reducer", "ReductionTask", "find", "names", "register_reducer"]

REDUCERS: Registry[Reducer] = Registry(
    "reducer",
    __name__,
    "one of your own needs its file: --plugin, or roofline.load_plugin",
    group="roofline.reducers",
)


def register_reducer(
    reducer: Reducer, reduce: Callable[..., Any] | None = None, **method: Any
) -> Reducer:
    """Make a reducer of your own known by its name, before any other of that name; returns it.

    reduce: the method of a reducer of features, as `Method.reduce` of the torch side. method:
        further fields of `Method`: `needs_attention`, `attention_block`, or `blocks` or `llm` of a
        method inside the ViT or the LLM.

    With none of them the reducer is priced but cannot run, unless one of its name ships that can.

    Raises InputError for a reducer that does not say what each must say of itself, or says what
    cannot be.
    """
    if reduce is not None:
        method["reduce"] = reduce
    kind = type(reducer).__name__
    for fault in _faults(reducer, method):
        raise InputError(f"{kind}: {fault}")
    REDUCERS.names()  # what ships comes before it
    if reducer.name in REDUCERS and type(find(reducer.name)).__module__.startswith(__name__):
        text = f"{kind} takes the place of the reducer {reducer.name}, which ships"
        warnings.warn(text, stacklevel=2)
    OWN_METHODS.forget(reducer.name)
    if method:
        OWN_METHODS.register(reducer.name, method)
    return REDUCERS.register(reducer.name, reducer)


METHOD_FIELDS = ("reduce", "blocks", "llm", "needs_attention", "attention_block")
"""What is said of how a reducer is done; the torch side's `Method` has them."""
_SAID_BY_ALL = ("name", "title", "source", "site", "default_source")
_NAME = re.compile(r"[A-Za-z][\w+-]*")


def _faults(reducer: Reducer, method: Mapping[str, Any]) -> Iterator[str]:
    """What is missing or cannot be, in words."""
    lacking = [name for name in _SAID_BY_ALL if not hasattr(reducer, name)]
    if type(reducer).default_kept is Reducer.default_kept:
        lacking.append("default_kept")
    if lacking:
        yield f"it lacks {', '.join(lacking)}"
    if not _NAME.fullmatch(reducer.name):
        yield f"{reducer.name!r} is no name: letters, digits, +, - and _"
    if reducer.site not in get_args(Site):
        yield f"its site is one of {', '.join(get_args(Site))}, not {reducer.site!r}"
    if unknown := [name for name in method if name not in METHOD_FIELDS]:
        yield f"nothing is known of {', '.join(unknown)}: {', '.join(METHOD_FIELDS)}"
    if len(reducer.__struct_fields__) != len(reducer.__struct_defaults__):
        yield "each option needs a default"
    try:
        hash(reducer)
    except TypeError as error:
        yield f"options must be of types that do not change, such as tuples ({error})"
    try:
        kept = reducer.default_kept(LLAVA_PATCHES, LLAVA_BLOCKS)
    except Exception as error:
        yield f"default_kept({LLAVA_PATCHES}, {LLAVA_BLOCKS}) fails: {error}"
    else:
        if not isinstance(kept, int):
            yield f"default_kept({LLAVA_PATCHES}, {LLAVA_BLOCKS}) is {kept!r}, no whole number"


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
