"""Which patches of one picture reducers keep, and what they merge.

Merging is read off the reducers themselves: they rank by queries and keys alone, and their tokens
are sums of features, so that the identity matrix in place of the features comes out as the weight
of each patch in each token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roofline.errors import ScenarioError, SpecError
from roofline.records.kept_patches import Inspection, Kept, Kind
from roofline.specs.catalog import load_component
from roofline.specs.catalog import load_model as load_spec
from roofline.specs.models import Lmm, VisionEncoder
from roofline.torch_side.families import family_of
from roofline.torch_side.pictures import PictureError, crop, preprocessed, quiet, read
from roofline.torch_side.reduce.encode import encode
from roofline.torch_side.reduce.methods import find, reduce_tokens
from roofline.torch_side.reduce.methods.base import MERGED, Reducer, ReducerError, patch_attention
from roofline.torch_side.reduce.methods.prumerge import upper_fence
from roofline.torch_side.reduce.methods.tome import ToMe

BY_POSITION = frozenset({"sequential", "spatial"})
"""Reducers that look at no weights and no picture."""

_PRUMERGE = frozenset({"prumerge", "prumerge+"})
_OWN_BUDGETS = frozenset({"ratio", "rate", "r"})
"""Options of reducers that can do without a `count`."""
_QUARTER = 4
_NO_PATCH = {"visionzip": "class token", "crossget": "cross token"}
"""What tokens of no single patch are, where they are not merged ones."""
_UNTRACED = frozenset({"evit", "crossget"})
"""Reducers that merge in ways that leave no record."""
_NOTES = {"crossget": "without its learned vectors: an approximation"}


def inspect_tokens(
    photo: str | Path,
    reducers: Iterable[str] = ("prumerge", "prumerge+"),
    *,
    model: str | Lmm = "llava-1.5-7b",
    checkpoint: str | Path | None = None,
    count: int | None = None,
) -> Inspection:
    """Look at a picture through an LMM's vision encoder with each of some reducers.

    checkpoint: a Hugging Face id or folder with the LMM's weights. Without one only reducers that
        choose `BY_POSITION` can be asked for.
    count: tokens to come out; left out, as many as the method itself decides on, or a quarter of
        the patches where it has no rule.

    Raises PictureError, ReducerError, and what `load_model` raises.
    """
    names = list(dict.fromkeys(reducers))
    if not names:
        raise ReducerError("give at least one reducer")
    for name in names:
        _check(name, checkpoint)
    spec = load_spec(model)
    if not isinstance(spec, Lmm):
        raise SpecError(f"model {spec.name}", [("kind", "only an lmm has visual tokens to reduce")])
    picture = read(photo)
    if checkpoint is None:
        vision = load_component(spec.vision, VisionEncoder)
        image = np.asarray(crop(picture, vision.image_size_px))
        kept = [look_by_position(name, vision.patches, count) for name in names]
    else:
        loaded = _loaded(spec, checkpoint)
        side_px = family_of(loaded).inputs(loaded)[0].tower.image_size
        image, pixels = preprocessed(picture, checkpoint, side_px)
        kept = [look(loaded, pixels, name, count) for name in names]
    side = round(kept[0].of ** 0.5)
    return Inspection(Path(photo).name, spec.name, image, side, tuple(kept))


@torch.inference_mode()
def look(model: Any, pixels: Tensor, name: str, count: int | None = None) -> Kept:
    """What a reducer keeps of one image [1, 3, height, width] in a model of a known family."""
    reducer, family = find(name), family_of(model)
    visual = family.inputs(model)[0]  # images come first
    tower, blocks, patches = visual.tower, visual.blocks, visual.tower.patches
    options = _options(reducer, patches, count)
    if reducer.blocks is not None:
        driver = reducer.blocks(**options)
        with _blaming(name):
            reduction = encode(tower, pixels, blocks, reducer=driver).reduction
        assert reduction is not None
        merging = _shares_in_means(driver, reduction.indices[0])
        return _kept(reducer, patches, reduction.indices[0], merging=merging)

    attention_of = blocks + reducer.attention_block if reducer.needs_attention else None
    encoded = encode(tower, pixels, blocks, attention_of=attention_of)
    features, queries, keys = encoded.features, encoded.queries, encoded.keys
    if reducer.after_connector:
        features = family.connector(model)(features)
    if "heads" in reducer.options:
        options["heads"] = tower.heads
    if queries is None or keys is None:
        return _look_at_features(reducer, options, features)
    return _look_at_features(reducer, options, features, queries.expand_as(keys), keys)


def look_by_position(name: str, patches: int, count: int | None = None) -> Kept:
    """What a reducer keeps whatever the picture shows."""
    reducer = find(name)
    return _look_at_features(
        reducer, _options(reducer, patches, count), torch.zeros(1, 1 + patches, 1)
    )


def _check(name: str, checkpoint: str | Path | None) -> None:
    if find(name).site == "llm":
        raise ReducerError(
            f"{name} works inside the LLM: what it keeps depends on the prompt, so it cannot be "
            "drawn from a picture alone"
        )
    if checkpoint is None and name not in BY_POSITION:
        raise ReducerError(
            f"{name} chooses by what the encoder sees, and random weights say nothing about a "
            "picture: give --checkpoint"
        )


def _options(reducer: Reducer, patches: int, count: int | None) -> dict[str, Any]:
    if count is None and _OWN_BUDGETS.isdisjoint(reducer.options):
        count = max(1, patches // _QUARTER)
    return {} if count is None else {"count": count}


def _look_at_features(
    reducer: Reducer,
    options: dict[str, Any],
    features: Tensor,
    queries: Tensor | None = None,
    keys: Tensor | None = None,
) -> Kept:
    """A reducer of final features: [1, 1 + N, C], queries and keys [1, 1 + N, C']."""
    patches = features.shape[1] - 1
    with _blaming(reducer.name):
        indices = reduce_tokens(reducer.name, features, queries, keys, **options).indices[0]
    if queries is None or keys is None:
        return _kept(reducer, patches, indices)

    attention = patch_attention(queries, keys, options.get("heads", 1), class_token=True)
    if not attention.isfinite().all():
        raise PictureError("attention is not finite: the checkpoint's weights must be damaged")
    identity = torch.eye(patches + 1, device=keys.device)[None, :, 1:]  # class token: zeros
    weights = reduce_tokens(reducer.name, identity, queries, keys, **options)
    ranked_alone = weights.indices[0].equal(indices)  # else it looks at the features too
    arrays: dict[str, Any] = {
        "merging": _shares(weights.tokens[0], indices) if ranked_alone else None,
        "attention": attention[0].double().numpy(force=True),
    }
    if reducer.name not in _PRUMERGE:
        return _kept(reducer, patches, indices, **arrays)
    fence = float(upper_fence(attention))
    outliers = int((attention > fence).sum())
    count = options.get("count")
    if reducer.name == "prumerge":
        attended = patches
    else:
        attended = max(1, outliers if count is None else (count - 1) // 4)
    kinds: tuple[Kind, Kind] = ("outlier" if count is None and outliers else "strongest", "sampled")
    return _kept(reducer, patches, indices, kinds, attended, fence=fence, **arrays)


def _shares(weights: Tensor, indices: Tensor) -> NDArray[np.float64] | None:
    """Each patch's share in what tokens take from others than their own patch, [n, N] → [N]."""
    own = torch.arange(weights.shape[1]) == indices[:, None]
    merged = (weights - own.to(weights.dtype)).sum(dim=0).double()
    return _normalised(merged)


def _shares_in_means(driver: object, indices: Tensor) -> NDArray[np.float64] | None:
    """The same for ToMe, whose tokens are plain means of patches."""
    if not isinstance(driver, ToMe):
        return None
    sizes = driver.sizes[0, 1:].double()  # without the class token
    shares = 1 / sizes[driver.positions[0]]
    shares[indices] = 0
    return _normalised(shares)


def _normalised(merged: Tensor) -> NDArray[np.float64] | None:
    merged = merged.clamp(min=0)
    total = merged.sum()
    shares: NDArray[np.float64] = (merged / total).numpy(force=True)
    return shares if total > 0 else None


def _kept(
    reducer: Reducer,
    of: int,
    indices: Tensor,
    kinds: tuple[Kind, Kind] | None = None,
    first: int = 0,
    **arrays: Any,
) -> Kept:
    """By the indices of tokens in order of output, the `first` of which are of the first kind."""
    own = indices[indices != MERGED].numpy(force=True)
    one, other = kinds or ("kept", "sampled" if reducer.name == "spatial" else "kept")
    parts = ((one, own[:first]), (other, own[first:]))
    return Kept(
        reducer.name,
        of,
        patches={kind: patches for kind, patches in parts if len(patches)},
        others={_NO_PATCH.get(reducer.name, "merged"): len(indices) - len(own)},
        merges=arrays.get("merging") is not None or reducer.name in _UNTRACED,
        note=_NOTES.get(reducer.name, ""),
        **arrays,
    )


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    """Say which of several reducers cannot work as asked."""
    try:
        yield
    except (ReducerError, ScenarioError) as error:
        raise ReducerError(f"{name}: {error}") from None


def _loaded(spec: Lmm, checkpoint: str | Path) -> Any:
    """The LMM in the checkpoints' fp16, which halves what the LLM takes, with an fp32 encoder."""
    from roofline.torch_side.load import load_model

    with quiet(checkpoint):
        model = load_model(spec, checkpoint, dtype="fp16")
    family = family_of(model)
    family.inputs(model)[0].tower.module.float()
    family.connector(model).float()
    return model
