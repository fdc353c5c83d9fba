"""Methods that reduce visual tokens: what each leaves, and what it costs itself.

No torch: `torch_side.reduce` runs them.

>>> find("fastv:k=3").full_llm_layers
3

A module of this package holds one reducer or a family, and registers it.
"""

from __future__ import annotations

from roofline.reducers.base import Reducer, ReductionTask
from roofline.registry import Registry

__all__ = ["Reducer", "ReductionTask", "find", "names", "register"]

REDUCERS: Registry[Reducer] = Registry("reducer", __name__)


def register(*reducers: Reducer) -> None:
    """Make reducers of your own known by their names; an earlier one of a name gives way."""
    REDUCERS.names()  # what ships comes before them
    for reducer in reducers:
        REDUCERS.register(reducer.name, reducer)


def names() -> tuple[str, ...]:
    """All names that `find` knows, without options, in alphabetical order."""
    return tuple(sorted(REDUCERS.names()))


def find(reducer: str | Reducer) -> Reducer:
    """A reducer as written: its name, and options behind colons, `name:option=value:option=value`.

    A list is written with commas, `evit:stages=6,12,18`, and no value as `none`. A Reducer is
    returned as it is.

    Raises UnknownNameError for names of reducers and options, ScenarioError for values.
    """
    if not isinstance(reducer, str):
        return reducer
    name, *options = reducer.split(":")
    return REDUCERS.find(name).parsed(options)
