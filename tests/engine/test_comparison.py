"""Reduced against full: one comparison, whoever asks, and it is full / reduced."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from made_up import bare, lawful, toy_laws
from toy import lmm, parts, toy

from roofline import analyze, count
from roofline.engine.compare import ratio, reducer_share, saving, tied
from roofline.engine.result import Quantities, Totals
from roofline.explore.study import study
from roofline.report.text.estimates import render
from roofline.specs.hardware import Hardware

COMPARED = ("flops", "memory_access_bytes", "peak_memory_bytes")


def unsure(percent: float, name: str = "h200") -> Hardware:
    """A device whose kernels may take so much longer or shorter than its laws say."""
    laws = toy_laws("fp16", tile=64, vector_gb_per_s=2000.0, errors_percent=(percent, percent))
    return lawful(name, laws)


@pytest.mark.parametrize(
    ("visual", "samples"), [(1, 1), (9, 1), (10, 2), (18, 2), (19, 3), (None, 1)], ids=str
)
def test_more_visual_tokens_than_one_sample_gives_are_several_samples(
    visual: int | None, samples: int
) -> None:
    # 9 patches an image; the vision tower runs once for each sample
    one, many = toy(lmm(), visual_tokens=1), toy(lmm(), visual_tokens=visual)

    assert many.components["vision"].flops == samples * one.components["vision"].flops
    if visual in (9, 18, None):
        assert many.comparison is None
    else:
        assert many.comparison is not None
        assert many.comparison.full_visual_tokens == 9 * samples


def test_frames_of_a_sample_are_encoded_one_by_one() -> None:
    one, frames = toy(lmm(), visual_tokens=2), toy(lmm(images=8), visual_tokens=2)

    assert frames.components["vision"].flops == 8 * one.components["vision"].flops
    assert frames.llm.roofline_time_s == one.llm.roofline_time_s
    assert frames.comparison is not None
    assert frames.comparison.full_visual_tokens == 8 * 9


def test_a_saving_is_full_over_reduced() -> None:
    reduced, full = toy(lmm(), visual_tokens=2), toy(lmm(), visual_tokens=9)
    comparison = reduced.comparison
    assert comparison is not None

    savings = {**comparison.components, "end_to_end": comparison.end_to_end}
    compared = {**comparison.full_components, "end_to_end": comparison.full_end_to_end}
    assert set(savings) == {"vision", "connector", "llm", "end_to_end"}
    for part, found in savings.items():
        before, after = parts(full)[part], parts(reduced)[part]
        assert compared[part].to_dict() == before.to_dict()
        for name in COMPARED:
            saved = f"{name.removesuffix('_bytes')}_saving"
            assert getattr(found, saved) == getattr(before, name) / getattr(after, name)
        assert found.roofline_speedup == before.roofline_time_s / after.roofline_time_s
        assert found.attainable_speedup == before.attainable_time_s / after.attainable_time_s
    assert savings["vision"].flops_saving == savings["vision"].speedup == 1  # the same image
    assert comparison.full_fits == full.end_to_end.fits


def test_a_prompt_that_is_not_reduced_is_compared_with_nothing() -> None:
    assert toy(lmm(), visual_tokens=9).comparison is None
    assert toy(lmm(), visual_tokens=0).comparison is None
    # nobody knows what an image gives to a model that no LMM is known to use
    assert toy().comparison is None
    assert analyze("clip-vit-l-336", "v100").comparison is None


def test_an_llm_is_compared_with_all_tokens_of_the_lmm_that_uses_it() -> None:
    comparison = analyze("vicuna-7b", "v100", visual_tokens=40).comparison

    assert comparison is not None
    assert comparison.full_visual_tokens == 576
    assert set(comparison.components) == {"llm"}


@pytest.mark.parametrize("hardware", ["h200", bare("h200")], ids=["laws", "bare"])
@pytest.mark.parametrize("reducer", ["prumerge", "fastv", "none"])
def test_it_is_one_number_whoever_asks(hardware: Any, reducer: str) -> None:
    options: dict[str, Any] = {"visual_tokens": 144, "reducer": reducer}
    estimate = analyze("llava-1.5-7b", hardware, **options)
    full = analyze("llava-1.5-7b", hardware)
    (_, row) = study(model="llava-1.5-7b", hardware=hardware, **options).prompts
    document = estimate.to_dict()["comparison"]
    shown = json.loads(render([estimate], "json"))
    comparison, priced = estimate.comparison, row.saving
    assert comparison is not None
    assert priced is not None

    # the headline is attainable where the device has laws; else no kernel is faster
    name = "roofline_time_s" if hardware != "h200" else "attainable_time_s"
    expected = getattr(full.end_to_end, name) / getattr(estimate.end_to_end, name)
    assert comparison.speedup == comparison.end_to_end.speedup == expected
    assert document["speedup"] == document["end_to_end"]["speedup"] == expected
    assert row.speedup == priced.speedup == expected
    assert priced.to_dict() == comparison.end_to_end.to_dict() == document["end_to_end"]
    assert shown["comparison"] == json.loads(json.dumps(document))
    share = comparison.reducer_share
    assert row.reducer_share == share == document["reducer_share"]
    assert (share is None) == (reducer == "none")


def test_without_laws_there_is_no_attainable_speedup_and_no_tie() -> None:
    comparison = analyze("llava-1.5-7b", bare("v100"), visual_tokens=40).comparison

    assert comparison is not None
    assert comparison.end_to_end.attainable_speedup is comparison.end_to_end.tie is None
    assert comparison.speedup == comparison.end_to_end.roofline_speedup


def test_on_no_device_what_is_counted_is_compared() -> None:
    found = count("llava-1.5-7b", visual_tokens=40).comparison
    priced = analyze("llava-1.5-7b", "v100", visual_tokens=40).comparison
    assert found is not None
    assert priced is not None

    for name in (f"{name.removesuffix('_bytes')}_saving" for name in COMPARED):
        assert getattr(found.end_to_end, name) == getattr(priced.end_to_end, name)
    assert found.speedup is found.full_fits is found.reducer_share is found.end_to_end.tie is None


@pytest.mark.parametrize("visual", [40, [40, 300]], ids=str)
def test_a_reducers_share_by_hand(visual: Any) -> None:
    # of what the rest saves, what the reducer takes itself
    estimate = analyze("llava-1.5-7b", bare("h200"), visual_tokens=visual, reducer="prumerge")
    full = analyze("llava-1.5-7b", bare("h200")).end_to_end.roofline_time_s
    own = estimate.components["reducer"].roofline_time_s
    others = sum(
        part.roofline_time_s for name, part in estimate.components.items() if name != "reducer"
    )
    assert estimate.comparison is not None

    assert estimate.comparison.reducer_share == pytest.approx(own / (full - others), rel=1e-12)


def totals(attainable_s: float, error_s: float | None, laws: bool = True) -> Totals:
    amounts = dict.fromkeys(Quantities.__struct_fields__, np.float64(1.0))
    return Totals(
        **amounts,
        roofline_time_s=np.float64(attainable_s / 2),
        bound_times_s={},
        attainable_time_s=np.float64(attainable_s) if laws else None,
        attainable_error_s=None if error_s is None else np.float64(error_s),
        host_time_s=None,
        device_memory_bytes=1.0,
    )


@pytest.mark.parametrize(
    ("full", "reduced", "tie"),
    [
        ((8.0, 1.0), (6.0, 1.0), False),
        ((8.0, 2.0), (6.0, 0.0), True),  # as far apart as the larger of the errors
        ((8.0, 0.0), (6.0, 2.0), True),  # whosever it is
        ((6.0, 2.0), (8.0, 1.0), True),  # whichever is slower
        ((8.0, 1.5), (6.0, 1.5), False),  # errors do not add up: kernels err to one side
        ((8.0, 0.0), (8.0, 0.0), True),
    ],
)
def test_times_closer_than_the_larger_error_tie(
    full: tuple[float, float], reduced: tuple[float, float], tie: bool
) -> None:
    before, after = totals(*full), totals(*reduced)

    assert tied(before, after) == tie
    assert saving(before, after).tie == tie
    assert saving(before, after).speedup == full[0] / reduced[0]  # it stays the ratio


def test_there_are_no_ties_without_errors() -> None:
    assert tied(totals(8.0, None), totals(8.0, 1.0)) is None
    assert tied(totals(8.0, 1.0), totals(8.0, None)) is None
    assert tied(totals(8.0, 1.0, laws=False), totals(8.0, 1.0)) is None
    assert tied(totals(8.0, 1.0), totals(8.0, 1.0, laws=False)) is None


def test_only_attainable_times_make_an_attainable_speedup() -> None:
    known, unknown = totals(8.0, 1.0), totals(4.0, None, laws=False)

    for before, after in ((known, unknown), (unknown, known), (unknown, unknown)):
        found = saving(before, after)
        assert found.attainable_speedup is found.tie is None
        assert found.speedup == found.roofline_speedup
    assert saving(known, known).attainable_speedup == 1


@pytest.mark.parametrize(("percent", "tie"), [(0.0, False), (1.0, False), (99.0, True)])
def test_a_prompt_ties_where_its_device_is_unsure(percent: float, tie: bool) -> None:
    estimate = analyze("llava-1.5-7b", unsure(percent), visual_tokens=40)
    full = analyze("llava-1.5-7b", unsure(percent))
    assert estimate.comparison is not None
    apart = full.end_to_end.attainable_time_s - estimate.end_to_end.attainable_time_s

    assert (apart <= full.end_to_end.attainable_error_s) == tie
    assert estimate.comparison.end_to_end.tie == tie
    assert estimate.to_dict()["comparison"]["tie"] is tie


def test_some_of_an_array_may_tie() -> None:
    comparison = analyze("llava-1.5-7b", unsure(10.0), visual_tokens=[1, 40, 570]).comparison
    assert comparison is not None

    assert list(comparison.end_to_end.tie) == [False, False, True]
    assert [comparison.end_to_end.at(i).tie for i in range(3)] == [False, False, True]
    assert comparison.end_to_end.at(1).speedup == comparison.speedup[1]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(6.0, 3.0, 2.0), (0.0, 3.0, 0.0), (0.0, 0.0, 1.0), (2.0, 0.0, np.inf), (1.0, 0.5, 2.0)],
)
def test_a_ratio(one: float, other: float, expected: float) -> None:
    assert ratio(np.asarray(one), np.asarray(other)) == expected


def test_a_reducer_that_saves_nothing_has_no_share_of_it() -> None:
    own, rest = totals(3.0, 0.0), totals(6.0, 0.0)
    slow = totals(9.0, 0.0)  # with the reducer's 3 as long as without it

    assert reducer_share(totals(10.0, 0.0), {"reducer": own}, slow) == 3.0 / (10.0 - 6.0)
    assert reducer_share(totals(6.5, 0.0), {"reducer": own}, slow) == 3.0 / 0.5
    assert np.isnan(reducer_share(rest, {"reducer": own}, slow))
    assert np.isnan(reducer_share(totals(5.5, 0.0), {"reducer": own}, slow))  # even dearer
    assert np.isnan(reducer_share(rest, {"reducer": totals(0.0, 0.0)}, rest))
    assert reducer_share(rest, {}, slow) is None


@pytest.mark.parametrize("reducer", ["prumerge:ratio=1", "prumerge+:ratio=0.6"])
def test_more_tokens_than_enter_are_still_of_one_image(reducer: str) -> None:
    found = analyze("llava-1.5-7b", "h100", reducer=reducer)
    (one,) = study(model="llava-1.5-7b", hardware="h100", reducer=reducer).deployments[0].reduced

    assert found.inputs["visual_tokens"] > 576
    assert found.comparison is not None
    assert found.comparison.full_visual_tokens == 576
    assert found.comparison.speedup == one.speedup
    assert found.comparison.speedup < 1
