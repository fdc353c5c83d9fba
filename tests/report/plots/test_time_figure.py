"""Where the time goes: bars add up, by component and kind of op."""

from __future__ import annotations

from itertools import pairwise

import pytest
from artists import legend
from made_up import lawful, toy_laws
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import PathPatch

from roofline.device.laws.host import HostLaw
from roofline.explore.study import Study, study
from roofline.report.plots import FIGURES


def parts(axes: Axes) -> list[tuple[int, float, float, str, bool]]:
    """Row, left, right, name and hatching of each rectangle."""
    return [
        (round(float(y.mean())), x.min(), x.max(), str(patch.get_gid()), bool(patch.get_hatch()))
        for patch in axes.patches
        if isinstance(patch, PathPatch)
        for x, y in (corners.T for corners in patch.get_path().to_polygons())
    ]


def test_bars_of_time_add_up_to_it_and_the_bound_is_hatched(attainable: Study) -> None:
    (axes,) = FIGURES["time"].draw(attainable).axes
    found = parts(axes)
    expected = []
    for one in attainable.prompts:
        whole = one.estimate.end_to_end
        expected += [(whole.time_s, True), (whole.attainable_time_s, False)]

    assert {row for row, *_ in found} == {0, 1, 2, 3}
    for row, (time_s, hatched) in enumerate(expected):
        mine = sorted(part[1:] for part in found if part[0] == row)
        assert mine[0][0] == 0
        assert mine[-1][1] == pytest.approx(time_s)
        assert all(a[1] == pytest.approx(b[0]) for a, b in pairwise(mine))
        assert {part[3] for part in mine} == {hatched}


def test_a_part_of_the_time_is_that_of_its_ops(one: Study) -> None:
    page = FIGURES["time"].draw(one)
    ops = one.prompts[0].estimate.ops
    chosen = ops[(ops.component == "llm") & (ops.kind == "linear")]
    (width,) = (
        right - left
        for row, left, right, name, _ in parts(page.axes[0])
        if (row, name) == (0, "bound llm linear")
    )

    assert width == pytest.approx(chosen.time_s.sum())
    assert {"vision", "reducer", "connector", "LLM", "roofline bound"} <= set(legend(page))
    assert "attainable, with its error" not in legend(page)
    assert page.axes[0].get_xlabel() == "prefill time, end to end"


def test_an_attainable_time_shows_what_it_may_be_off(attainable: Study) -> None:
    (axes,) = FIGURES["time"].draw(attainable).axes
    (bars,) = axes.containers
    ends = bars.lines[2][0].get_segments()

    assert len(ends) == len(attainable.prompts)
    for (left, right), one in zip(ends, attainable.prompts, strict=True):
        whole = one.estimate.end_to_end
        assert left[0] == pytest.approx(whole.attainable_time_low_s)
        assert right[0] == pytest.approx(whole.attainable_time_high_s)


def test_what_the_framework_takes_has_the_colour_of_its_swatch() -> None:
    slow = {stage: HostLaw(fixed_us=500.0, layer_us=200.0) for stage in ("vision", "llm")}
    laws = toy_laws("fp16", tile=64, vector_gb_per_s=100.0, host=slow)
    found = study(["llava-1.5-7b"], [lawful("xeon-8480", laws)], visual_tokens=[40])
    page = FIGURES["time"].draw(found)
    (part,) = (p for p in page.axes[0].patches if "framework" in str(p.get_gid()))
    patches = dict(zip(legend(page), page.legends[0].get_patches(), strict=True))

    assert to_rgba(part.get_facecolor()) == patches["framework"].get_facecolor()
