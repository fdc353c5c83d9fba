"""How each reducer is done in torch, by name.

>>> kept = reduce_tokens("prumerge+", features, queries, keys, count=144)
>>> kept.tokens[0].shape, kept.indices[0].shape
(torch.Size([144, 1024]), torch.Size([144]))

What a reducer is, its options and its cost are told by `roofline.reducers`; a module of this
package has the name of the one there, holds the implementations, and registers them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from roofline import reducers
from roofline.engine.axes import NO_REDUCER
from roofline.reducers import Reducer
from roofline.reducers.base import OWN_METHODS
from roofline.registry import Registry
from roofline.torch_side.reduce.methods.base import (
    MERGED,
    BoundMethod,
    Method,
    ReducerError,
    Reduction,
    patches_of,
)

__all__ = [
    "MERGED",
    "BoundMethod",
    "Method",
    "ReducerError",
    "Reduction",
    "bind",
    "find",
    "reduce_tokens",
]

METHODS: Registry[Method] = Registry("reducer in torch", __name__)


def find(reducer: str | Reducer) -> Method:
    """How a reducer is done. Raises UnknownNameError."""
    name = reducers.find(reducer).name
    if name in OWN_METHODS:
        return Method(name, **OWN_METHODS.find(name))
    return METHODS.find(name)


def bind(reducer: str | Reducer, **options: Any) -> BoundMethod:
    """A reducer with its options and whatever else its method takes, ready to run.

    options: those of the reducer, over those that are written behind its name; `count`, the tokens
    to come out; and what only the method takes, such as CrossGET's `vectors`.

    Raises UnknownNameError for names, ScenarioError for values, ReducerError for a count beside an
    option that says as much.
    """
    entry = reducers.find(reducer)
    method = find(entry)
    given = {name: options.pop(name) for name in method.arguments if name in options}
    unknown = next((option for option in options if option not in entry.options), None)
    if unknown is not None:
        raise entry.unknown_option(unknown, method.arguments)
    entry = entry.with_options(**options)
    if given.get("count") is not None and entry.settles_count:
        rivals = " or ".join(f"`{name}`" for name in entry.chosen if name in entry.count_options)
        raise ReducerError(f"{entry.name}: give {rivals} or `count`, not both")
    return BoundMethod(method, entry, given)


def reduce_tokens(
    method: str | Reducer,
    features: Tensor,
    queries: Tensor | None = None,
    keys: Tensor | None = None,
    **options: Any,
) -> Reduction:
    """Reduce the visual tokens of a batch of images.

    features [B, 1 + N, C] are a vision encoder's, class token first; queries and keys
    [B, 1 + N, C'] are those of the attention block that the method ranks by
    (`find(method).attention_block`), of `heads` heads. With `class_token=False` all three are
    [B, N, ·]. Options are those of `bind`. Output order is the method's own; `none` keeps all.

    Raises UnknownNameError, ScenarioError, ReducerError.
    """
    if method == NO_REDUCER:
        patches = patches_of(features, options.get("class_token", True))
        indices = torch.arange(patches.shape[1], device=features.device)
        return Reduction(list(patches), [indices] * len(patches))
    return bind(method, **options).reduce(features, queries, keys)
