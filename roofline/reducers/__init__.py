"""Methods that reduce visual tokens: what each leaves, and what it costs itself.

No torch: `torch_side.reduce` runs them.

>>> find("fastv:k=3").full_llm_layers
3

A module of this package holds one reducer or a family, and registers it. The package itself gives a
frame of all when it is called, `roofline.reducers()`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from roofline.reducers.base import Reducer, ReductionTask
from roofline.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

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


class CallablePackage(ModuleType):
    """What `roofline.reducers` is: a package that gives a frame of all when it is called."""

    find, names, register = staticmethod(find), staticmethod(names), staticmethod(register)

    def __call__(self) -> pd.DataFrame:
        """All reducers, by name: what they are, where they act, what they leave, their options."""
        from roofline.reducers.listing import reducers

        return reducers()


sys.modules[__name__].__class__ = CallablePackage
