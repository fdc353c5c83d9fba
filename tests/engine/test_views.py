"""Pictures of several shapes, connectors that merge patches, and reducers beside them, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy import llm, lmm, tower, toy

from roofline import count, reducers
from roofline.engine.layout import lay_out
from roofline.engine.parts import SampleViews
from roofline.errors import ScenarioError, SpecError
from roofline.model.polynomial import Point, total
from roofline.specs.models import (
    LinearStep,
    Lmm,
    MergeStep,
    NormStep,
    PoolStep,
    QFormer,
    StepConnector,
    View,
    Windows,
)

WORDS = {"name": "toy-connector", "title": "Toy", "source": "made up"}


def merging(size: int = 3, **changes: Any) -> Lmm:
    """3 × 3 patches side by side in one row of 72, a norm of it, and a matrix to 8."""
    steps = (MergeStep(size=size), NormStep(), LinearStep(bias=False))
    return lmm(connector=StepConnector(**WORDS, steps=steps), **changes)


def flops(model: Lmm, *views: View, batch: int = 1) -> dict[str, float]:
    """Of tower and connector, for samples that show these."""
    layout = lay_out(model, sample=SampleViews(views))
    values = {"batch": batch, "visual_tokens": layout.unreduced_visual_tokens, "text_tokens": 3}
    point = Point({n: np.asarray(float(v or 0)) for n, v in values.items()}, layout.derived)
    return {
        part.name: float(point(total(b.count * op.flops for b in blocks for op in b.ops)))
        for part in layout.components
        if part.name != "llm"
        for blocks in ([b for b in part.phases["prefill"] if not b.idle],)
    }


def test_visual_tokens_follow_from_the_connector() -> None:
    assert toy(merging(), visual_tokens=None).unreduced_visual_tokens == 1
    assert toy(merging(images=4), visual_tokens=None).unreduced_visual_tokens == 4
    assert StepConnector(**WORDS, steps=(PoolStep(), LinearStep())).tokens(View(5, 7), 35) == 6


def test_a_connector_that_merges_by_hand() -> None:
    # one row of 9 patches' 8 features each: [1, 72] @ [72, 8]
    connector = toy(merging(), visual_tokens=1).components["connector"]

    assert connector.flops == 2 * 72 * 8
    assert connector.weight_bytes == 2 * (72 * 8 + 2 * 72)


def test_views_of_several_shapes_add_up() -> None:
    model, one, other = merging(), View(3, 3), View(6, 9, count=2)
    together = flops(model, one, other, batch=5)

    for name, whole in together.items():
        assert whole == flops(model, one, batch=5)[name] + flops(model, other, batch=5)[name]


def test_attention_is_within_each_picture() -> None:
    # blocks: rows 10 and 2·55 through 512 weights; scores [2, n, n], e = 4, twice
    rows = 10 + 2 * 55
    stem, scores = 2 * (9 + 2 * 54) * 48 * 8, 2 * (2 * 2 * (10**2 + 2 * 55**2) * 4)

    found = flops(merging(), View(3, 3), View(6, 9, count=2))
    assert found["vision"] == stem + 3 * (2 * rows * 512 + scores)


def test_windows_hold_what_is_left_at_the_edges() -> None:
    # 7 × 5 in squares of 3: two rows of (3·3, 3·2), and one of (1·3, 1·2)
    assert Windows(side=3).lengths(View(7, 5)) == {9: 2, 6: 2, 3: 1, 2: 1}
    assert Windows(side=8).lengths(View(4, 6)) == {24: 1}
    with pytest.raises(ValueError, match="`windows` hold patches alone"):
        tower(windows=Windows(side=2))


def test_a_class_token_is_no_patch_to_be_merged() -> None:
    with pytest.raises(SpecError, match="vision_feature_select_strategy: must be default"):
        count(merging(vision_feature_select_strategy="full"))


def test_a_reducer_among_merged_rows() -> None:
    wide = merging(size=1, vision=tower(image_size_px=48), images=2)  # 12 × 12 patches, all kept
    model = lmm(
        connector=StepConnector(**WORDS, steps=(MergeStep(), LinearStep())),
        vision=tower(image_size_px=48),
    )
    estimate = toy(model, visual_tokens=9, reducer="divprune")

    assert toy(wide, visual_tokens=None).unreduced_visual_tokens == 288
    assert estimate.components["connector"].flops == 2 * 36 * 32 * 8  # all rows, before any goes
    with pytest.raises(
        ScenarioError, match="inside the ViT, which the connector of toy-lmm merges"
    ):
        toy(model, visual_tokens=9, reducer="evit")


def test_merged_rows_are_ranked_by_their_patches() -> None:
    """36 rows of 4 patches each, 8 wide before the connector and in queries and keys."""
    model = lmm(
        connector=StepConnector(**WORDS, steps=(MergeStep(), LinearStep(width=24))),
        vision=tower(image_size_px=48),
        llm=llm(hidden_size=24),
    )
    found = toy(model, visual_tokens=9, reducer="visionzip:contextual=2")

    attention, similarity, means = 2 * 8 * 144**2, 2 * (36 - 9) * 2 * 4, 2 * 2 * (36 - 9) * 24
    assert found.components["reducer"].flops == attention + similarity + means


def test_a_picture_s_tiles_share_a_count_that_is_no_multiple_of_them() -> None:
    """Eight tokens of three tiles are 3, 3 and 2."""
    sample = SampleViews((View(3, 3, count=3),), tokens=27)
    work = [
        lay_out(lmm(), sample=sample, reducer=reducers.find("divprune"), visual_tokens=count)
        for count in (8, 9, 6)
    ]
    point = Point({"batch": np.asarray(1.0), "visual_tokens": np.asarray(8.0)}, work[0].derived)
    shared, three, two = (
        sum(
            float(point(total([op.vector_flops])))
            for block in layout.components[1].phases["prefill"]
            for op in block.ops
        )
        for layout in work
    )

    assert shared == pytest.approx(three * 2 / 3 + two / 3)


def test_reducers_of_features_want_one_shape() -> None:
    sample = SampleViews((View(3, 3), View(6, 9)))
    with pytest.raises(ScenarioError, match="pictures of one shape; a sample of toy-lmm has 2"):
        lay_out(lmm(), sample=sample, reducer=reducers.find("divprune"))


def test_separators_do_not_pass_through_the_connector() -> None:
    layout = lay_out(lmm(learned_rows=1), sample=SampleViews((View(3, 3, count=2),), tokens=21))

    assert layout.unreduced_visual_tokens == 21
    point = Point({"batch": np.asarray(1.0), "visual_tokens": np.asarray(21.0)}, layout.derived)
    assert point(total([layout.connected])) == 18


def test_a_q_former_reads_each_image_whole() -> None:
    """3 queries of 12, two layers, the first of which reads 10 features of 8."""
    former = QFormer(
        **WORDS, num_query_tokens=3, hidden_size=12, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=20,
    )  # fmt: skip
    model = lmm(connector=former, vision_feature_select_strategy="full")

    found = flops(model, View(3, 3))["connector"]
    itself = 2 * 3 * 4 * 144 + 2 * (2 * 2 * 9 * 6)  # q, k, v, out; scores [2, 3, 3], e = 6
    crossed = 2 * (3 * 2 * 144 + 10 * 2 * 96) + 2 * (2 * 2 * 30 * 6)
    mlp = 2 * 3 * 2 * 240
    assert found == 2 * (itself + mlp) + crossed + 2 * 3 * 96
    assert toy(model, visual_tokens=None).unreduced_visual_tokens == 3


def test_a_connector_that_leaves_nothing_is_a_fault_of_the_spec() -> None:
    pooling = StepConnector(**WORDS, steps=(PoolStep(size=4), LinearStep()))
    with pytest.raises(
        SpecError, match=r"connector: toy-connector leaves nothing of .* 3×3 patches"
    ):
        count(lmm(connector=pooling))
