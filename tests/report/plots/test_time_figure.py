"""Bars of time as they are drawn: from end to end, hatched where they are the bound."""

from __future__ import annotations

from itertools import pairwise

import pytest
from artists import charted, labels, legend
from made_up import lawful, toy_laws
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import PathPatch

from roofline.device.laws.host import HostLaw
from roofline.explore.study import Study, study
from roofline.report.plots import draw


def parts(axes: Axes) -> list[tuple[int, float, float, str, bool]]:
    """Row, left, right, name and hatching of each rectangle."""
    return [
        (round(float(y.mean())), x.min(), x.max(), str(patch.get_gid()), bool(patch.get_hatch()))
        for patch in axes.patches
        if isinstance(patch, PathPatch)
        for x, y in (corners.T for corners in patch.get_path().to_polygons())
    ]


def test_every_part_is_a_rectangle_behind_the_one_before(attainable: Study) -> None:
    chart = charted("time", attainable)
    page = draw(chart)
    (axes,), (panel,) = page.axes, chart.panels
    found = parts(axes)

    assert {row for row, *_ in found} == set(range(len(panel.bars)))
    for row, bar in enumerate(panel.bars):
        mine = sorted(part[1:] for part in found if part[0] == row)
        assert mine[0][0] == 0
        assert all(a[1] == pytest.approx(b[0]) for a, b in pairwise(mine))
        assert [right - left for left, right, *_ in mine] == pytest.approx(
            [part.size for part in bar.parts]
        )
        assert [name for *_, name, _ in mine] == [
            f"{bar.role} {part.of} {part.group}" for part in bar.parts
        ]
        assert {hatched for *_, hatched in mine} == {bar.role == "bound"}
    assert legend(page) == labels(chart)
    assert axes.get_xlabel() == panel.x.label
    assert axes.get_title(loc="left") == panel.title


def test_each_prompt_has_its_name_between_its_bars(attainable: Study) -> None:
    (axes,) = draw(charted("time", attainable)).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["576", "40 prumerge"]
    assert list(axes.get_yticks()) == [0.5, 2.5]


def test_an_attainable_time_shows_what_it_may_be_off(attainable: Study) -> None:
    chart = charted("time", attainable)
    (axes,) = draw(chart).axes
    (errors,) = axes.containers
    ends = errors.lines[2][0].get_segments()
    known = [(row, bar) for row, bar in enumerate(chart.panels[0].bars) if bar.high is not None]

    assert len(ends) == len(known)
    for (left, right), (row, bar) in zip(ends, known, strict=True):
        assert left == pytest.approx([bar.low, row])
        assert right == pytest.approx([bar.high, row])


def test_what_the_host_takes_has_the_colour_of_its_swatch() -> None:
    slow = {stage: HostLaw(fixed_us=500.0, layer_us=200.0) for stage in ("vision", "llm")}
    laws = toy_laws("fp16", tile=64, vector_gb_per_s=100.0, host=slow)
    found = study(model=["llava-1.5-7b"], hardware=[lawful("xeon-8480", laws)], visual_tokens=[40])
    page = draw(charted("time", found))
    (part,) = (p for p in page.axes[0].patches if "host" in str(p.get_gid()))
    patches = dict(zip(legend(page), page.legends[0].get_patches(), strict=True))

    assert to_rgba(part.get_facecolor()) == patches["host"].get_facecolor()
