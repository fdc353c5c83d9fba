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

from roofline import reducers as registry
from roofline.engine.axes import NO_REDUCER
from roofline.errors import ScenarioError, SpecError
from roofline.records.kept_patches import Inspection, Kept, PatchKind
from roofline.reducers import Reducer
from roofline.reducers.prumerge import PruMerge, PruMergePlus
from roofline.reducers.sampling import Spatial
from roofline.specs.catalog import load_component, where
from roofline.specs.catalog import load_model as load_spec
from roofline.specs.models import Lmm, VisionEncoder
from roofline.torch_side.families import family_of
from roofline.torch_side.families.configs import merge_size
from roofline.torch_side.families.tower import NativeTower
from roofline.torch_side.families.visual import VisualInput
from roofline.torch_side.pictures import (
    PictureError,
    crop,
    preprocessed,
    preprocessed_square,
    quiet,
    read,
)
from roofline.torch_side.reduce.encode import encode
from roofline.torch_side.reduce.methods import BoundMethod, bind, find
from roofline.torch_side.reduce.methods.base import MERGED, ReducerError, patch_attention
from roofline.torch_side.reduce.methods.prumerge import upper_fence
from roofline.torch_side.reduce.methods.tome import ToMeBlocks
from roofline.torch_side.reduce.path import ReductionPath


def inspect_tokens(
    photo: str | Path,
    reducers: Iterable[str] = ("prumerge", "prumerge+"),
    *,
    model: str | Lmm = "llava-1.5-7b",
    checkpoint: str | Path | None = None,
    count: int | None = None,
) -> Inspection:
    """Look at a picture through an LMM's vision encoder with each of some reducers.

    As `inspect_photos` does with several.
    """
    (found,) = inspect_photos([photo], reducers, model=model, checkpoint=checkpoint, count=count)
    return found


def inspect_photos(
    photos: Iterable[str | Path],
    reducers: Iterable[str] = ("prumerge", "prumerge+"),
    *,
    model: str | Lmm = "llava-1.5-7b",
    checkpoint: str | Path | None = None,
    count: int | None = None,
) -> tuple[Inspection, ...]:
    """Look at pictures, each once, through an LMM's vision encoder with each of some reducers.

    checkpoint: a Hugging Face id or folder with the LMM's weights. Without one only reducers that
        choose `by_position` can be asked for.
    count: tokens to come out; left out, as many as the method itself decides on, or else its
        default in the analysis. `none` keeps them all.

    Raises PictureError, ReducerError, and what `load_model` raises.
    """
    names = list(dict.fromkeys(reducers))
    if not names:
        raise ReducerError("give at least one reducer")
    for name in names:
        if name != NO_REDUCER:
            _check(name, checkpoint)
    spec = load_spec(model)
    if not isinstance(spec, Lmm):
        raise SpecError(where(spec), [("kind", "only an lmm has visual tokens to reduce")])
    files = list(dict.fromkeys(map(Path, photos)))
    alike = len({file.name for file in files}) < len(files)
    pictures = {str(file) if alike else file.name: read(file) for file in files}
    found = []
    loaded = None if checkpoint is None else _loaded(spec, checkpoint)
    for title, picture in pictures.items():
        if loaded is None:
            vision = load_component(spec.vision, VisionEncoder)
            image = np.asarray(crop(picture, vision.image_size_px))
            tokens = vision.patches // merge_size(spec) ** 2
            kept = [look_by_position(name, tokens, count) for name in names]
        else:
            visual = _pictures_input(loaded)
            prepare = preprocessed if visual.view is not None else preprocessed_square
            image, pixels = prepare(picture, checkpoint, visual.side_px)
            kept = [look(loaded, pixels, name, count) for name in names]
        found.append(Inspection(title, spec.name, image, round(kept[0].of ** 0.5), tuple(kept)))
    return tuple(found)


@torch.inference_mode()
def look(model: Any, pixels: Tensor, name: str, count: int | None = None) -> Kept:
    """What a reducer keeps of one square image [1, 3, side, side] in a model of a known family.

    Families that cut a picture by its shape are shown it whole, or at its own size.
    """
    family, visual = family_of(model), _pictures_input(model)
    square = visual.square(pixels)
    if name == NO_REDUCER:
        return _all_kept(square.sizes[0])
    method, bound = find(name), bind(name, count=count)
    tower = visual.tower
    if visual.merged > 1 or isinstance(tower, NativeTower):
        with _blaming(name):
            indices = ReductionPath(model, bound).tokens(visual, square).indices[0]
        return _kept(bound.reducer, square.sizes[0], indices)
    blocks, patches = visual.blocks, tower.patches
    if bound.reducer.site == "vision":
        driver = bound.blocks()
        with _blaming(name):
            reduction = encode(tower, pixels, blocks, reducer=driver).reduction
        assert reduction is not None
        merging = _shares_in_means(driver, reduction.indices[0])
        return _kept(bound.reducer, patches, reduction.indices[0], merging=merging)

    attention_of = None
    if method.needs_attention:  # the nearest, where the tower has no such block
        attention_of = min(blocks + method.attention_block, tower.blocks - 1)
    encoded = encode(tower, pixels, blocks, attention_of=attention_of)
    features, queries, keys = encoded.features, encoded.queries, encoded.keys
    if bound.reducer.connects_all:
        features = family.connector(model)(features)
    heads = tower.heads if "heads" in method.arguments else 1
    if queries is not None and keys is not None:
        queries = queries.expand_as(keys)
    return _look_at_features(bound, heads, features, queries, keys, class_token=tower.class_token)


def _pictures_input(model: Any) -> VisualInput:
    return next(visual for visual in family_of(model).inputs(model) if not visual.video)


def look_by_position(name: str, patches: int, count: int | None = None) -> Kept:
    """What a reducer keeps whatever the picture shows."""
    if name == NO_REDUCER:
        return _all_kept(patches)
    return _look_at_features(bind(name, count=count), 1, torch.zeros(1, 1 + patches, 1))


def _all_kept(patches: int) -> Kept:
    """A picture that nobody reduces."""
    return Kept(NO_REDUCER, patches, {"kept": np.arange(patches)})


def _check(name: str, checkpoint: str | Path | None) -> None:
    reducer = registry.find(name)
    if reducer.site == "llm":
        raise ReducerError(
            f"{name} works inside the LLM: what it keeps depends on the prompt, so it cannot be "
            "drawn from a picture alone"
        )
    if checkpoint is None and not reducer.by_position:
        raise ReducerError(
            f"{name} chooses by what the encoder sees, and random weights say nothing about a "
            "picture: give --checkpoint"
        )


def _look_at_features(
    bound: BoundMethod,
    heads: int,
    features: Tensor,
    queries: Tensor | None = None,
    keys: Tensor | None = None,
    *,
    class_token: bool = True,
) -> Kept:
    """A reducer of final features: [1, 1 + N, C], queries and keys [1, 1 + N, C'].

    [1, N, ·] of a tower without a class token.
    """
    patches, reducer = features.shape[1] - class_token, bound.reducer
    facts = {"heads": heads, "class_token": class_token}
    with _blaming(reducer.name):
        indices = bound.reduce(features, queries, keys, **facts).indices[0]
    if queries is None or keys is None:
        return _kept(reducer, patches, indices)

    attention = patch_attention(queries, keys, heads, class_token)
    if not attention.isfinite().all():
        raise PictureError("attention is not finite: the checkpoint's weights must be damaged")
    tokens = keys.shape[1]
    identity = torch.eye(tokens, device=keys.device)[None, :, tokens - patches :]  # class: zeros
    weights = bound.reduce(identity, queries, keys, **facts)
    ranked_alone = weights.indices[0].equal(indices)  # else it looks at the features too
    arrays: dict[str, Any] = {
        "merging": _shares(weights.tokens[0], indices) if ranked_alone else None,
        "attention": attention[0].double().numpy(force=True),
    }
    if not isinstance(reducer, PruMerge):
        return _kept(reducer, patches, indices, **arrays)
    fence = float(upper_fence(attention))
    outliers = int((attention > fence).sum())
    count = bound.given.get("count")
    adaptive = count is None and reducer.ratio is None
    if not isinstance(reducer, PruMergePlus):
        attended = patches
    elif adaptive:
        attended = max(1, outliers)
    else:
        attended = reducer.strongest(patches, None if count is None else count - reducer.released)
    kinds: tuple[PatchKind, PatchKind] = (
        "outlier" if adaptive and outliers else "strongest",
        "sampled",
    )
    return _kept(reducer, patches, indices, kinds, attended, fence=fence, **arrays)


def _shares(weights: Tensor, indices: Tensor) -> NDArray[np.float64] | None:
    """Each patch's share in what tokens take from others than their own patch, [n, N] → [N]."""
    own = torch.arange(weights.shape[1]) == indices[:, None]
    merged = (weights - own.to(weights.dtype)).sum(dim=0).double()
    return _normalised(merged)


def _shares_in_means(driver: object, indices: Tensor) -> NDArray[np.float64] | None:
    """The same for ToMe, whose tokens are plain means of patches."""
    if not isinstance(driver, ToMeBlocks):
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
    kinds: tuple[PatchKind, PatchKind] | None = None,
    first: int = 0,
    **arrays: Any,
) -> Kept:
    """By the indices of tokens in order of output, the `first` of which are of the first kind."""
    own = indices[indices != MERGED].numpy(force=True)
    one, other = kinds or ("kept", "sampled" if isinstance(reducer, Spatial) else "kept")
    parts = ((one, own[:first]), (other, own[first:]))
    return Kept(
        reducer.label,
        of,
        patches={kind: patches for kind, patches in parts if len(patches)},
        others={reducer.unplaced: len(indices) - len(own)},
        merges=arrays.get("merging") is not None or reducer.merges_untraced,
        note=reducer.note,
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
    for visual in family.inputs(model):
        visual.tower.module.float()
    family.connector(model).float()
    return model
