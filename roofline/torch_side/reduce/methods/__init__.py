"""Visual-token reducers by name.

>>> kept = reduce_tokens("prumerge+", features, queries, keys, count=144)
>>> kept.tokens[0].shape, kept.indices[0].shape
(torch.Size([144, 1024]), torch.Size([144]))

A module of this package holds one reducer or a family and says so in its `REDUCERS`. `_HOMES` is
the only list of names, and nothing is imported before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import Tensor

from roofline.torch_side.reduce.methods.base import MERGED, Reducer, ReducerError, Reduction

__all__ = [
    "MERGED",
    "Reducer",
    "ReducerError",
    "Reduction",
    "find",
    "reduce_tokens",
    "reducer_names",
    "register",
]

_HOMES = {
    "prumerge": "prumerge",
    "prumerge+": "prumerge",
    "sequential": "sampling",
    "spatial": "sampling",
    "fastervlm": "fastervlm",
    "visionzip": "visionzip",
    "divprune": "divprune",
    "tome": "tome",
    "ats": "ats",
    "evit": "evit",
    "crossget": "crossget",
    "fastv": "fastv",
}
"""Name → module of this package whose `REDUCERS` holds it."""

_registered: dict[str, Reducer] = {}


def register(*reducers: Reducer) -> None:
    """Make reducers of your own known by their names; an earlier one of a name gives way."""
    _registered.update((reducer.name, reducer) for reducer in reducers)


def reducer_names() -> list[str]:
    """All names that `find` knows."""
    return [*_HOMES, *(name for name in _registered if name not in _HOMES)]


def find(name: str) -> Reducer:
    """The registry's entry of that name."""
    if name in _registered:
        return _registered[name]
    if name not in _HOMES:
        raise ReducerError(f"unknown reducer {name!r}; {_nearest(name, reducer_names())}")
    module = import_module(f"{__name__}.{_HOMES[name]}")
    for reducer in module.REDUCERS:  # a user's own of the same name stays
        _registered.setdefault(reducer.name, reducer)
    return _registered[name]


def reduce_tokens(
    method: str,
    features: Tensor,
    queries: Tensor | None = None,
    keys: Tensor | None = None,
    **options: Any,
) -> Reduction:
    """Reduce the visual tokens of a batch of images.

    features [B, 1 + N, C] are a vision encoder's, class token first; queries and keys
    [B, 1 + N, C'] are those of the attention block that the method ranks by
    (`find(method).attention_block`). With `class_token=False` all three are [B, N, ·]. Output order
    is the method's own.
    """
    reducer = find(method)
    if reducer.reduce is None:
        raise ReducerError(
            f"{method} works inside the {'ViT' if reducer.site == 'vision' else 'LLM'}, not on "
            "its features: it needs the model"
        )
    for option in options:
        if option not in reducer.options:
            raise ReducerError(
                f"{method} has no option {option!r}; {_nearest(option, list(reducer.options))}"
            )
    return reducer.reduce(features, queries, keys, **options)


def _nearest(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"
