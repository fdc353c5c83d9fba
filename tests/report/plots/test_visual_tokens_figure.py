"""Time, FLOPs and memory over visual tokens, and the places where fewer stop paying."""

from __future__ import annotations

import numpy as np
import pytest
from artists import legend, lines, the_line
from made_up import bare
from matplotlib.colors import to_rgba

import roofline
from roofline.explore.study import Study, study
from roofline.report.plots import FIGURES
from roofline.report.plots.style import SHAPES


def test_curves_are_those_of_single_analyses(one: Study, attainable: Study) -> None:
    page = FIGURES["visual-tokens"].draw(one)
    tokens, times = the_line(page, "time v100 fp16")
    _, flops = the_line(page, "flops")
    _, memory = the_line(page, "peak memory")

    assert list(tokens) == list(range(1, 577))
    device = one.prompts[0].estimate.hardware
    for count in (1, 40, 576):
        whole = roofline.analyze("llava-1.5-7b", device, visual_tokens=count).end_to_end
        assert times[count - 1] == pytest.approx(whole.time_s)
        assert flops[count - 1] == pytest.approx(whole.flops)
        assert memory[count - 1] == pytest.approx(whole.peak_memory_bytes)
    page = FIGURES["visual-tokens"].draw(attainable)
    _, predicted = the_line(page, "time a100-80gb fp16")
    _, bound = the_line(page, "bound a100-80gb fp16")
    assert np.all(predicted > bound)
    assert "roofline bound" in legend(page)


def test_the_ridge_is_where_the_llm_turns_to_compute(one: Study) -> None:
    (x,), _ = the_line(FIGURES["visual-tokens"].draw(one), "ridge v100 fp16")
    device = one.prompts[0].estimate.hardware

    bounds = [
        str(roofline.analyze("llava-1.5-7b", device, visual_tokens=int(x) + more).bound)
        for more in (0, 1)
    ]
    assert bounds == ["memory", "compute"]


def test_fewer_tokens_no_longer_help_within_a_twentieth_of_the_least(one: Study) -> None:
    page = FIGURES["visual-tokens"].draw(one)
    (x,), (y,) = the_line(page, "floor v100 fp16")
    _, times = the_line(page, "time v100 fp16")

    assert y == times[int(x) - 1]
    assert y <= 1.05 * times[0] < times[int(x)]
    assert [line.get_xdata()[0] for line in lines(page.axes[0], "asked")] == [40, 576]
    assert page.axes[0].get_xlabel() == "visual tokens"


@pytest.mark.parametrize(("name", "kind"), [("visual-tokens", "floor"), ("answer", "step")])
def test_seven_devices_differ_by_colour_and_by_shape(
    name: str, kind: str, studies: dict[str, Study]
) -> None:
    found = studies["nine"]
    page = FIGURES[name].draw(found)
    shown = {line.get_label(): line for line in page.legends[0].get_lines()}
    devices = [device for device in found.hardware if device in shown]

    assert devices == list(found.hardware[:7])
    assert len({to_rgba(shown[device].get_color()) for device in devices}) == 7
    assert [shown[device].get_marker() for device in devices] == list(SHAPES[:7])
    assert page.get_suptitle() == "2 more devices not shown"
    drawn = {
        str(line.get_gid()).split()[1]: (line.get_marker(), line.get_color())
        for line in page.axes[0].lines
        if str(line.get_gid()).startswith(kind)
    }
    assert drawn == {d: (shown[d].get_marker(), shown[d].get_color()) for d in devices}


def test_places_where_fewer_stop_paying_are_explained_where_there_are_any(one: Study) -> None:
    page = FIGURES["visual-tokens"].draw(one)
    (ridge,), (floor,) = lines(page, "ridge v100 fp16"), lines(page, "floor v100 fp16")
    assert ridge.get_markerfacecolor() == "white"
    assert floor.get_markerfacecolor() == floor.get_color()
    assert ridge.get_marker() == floor.get_marker()
    bound = "LLM bound by memory up to here"
    assert bound in legend(page)
    crowd = study(["llava-1.5-7b"], [bare("v100")], visual_tokens=[40], batch=64)
    page = FIGURES["visual-tokens"].draw(crowd)
    assert not lines(page, "ridge v100 fp16")
    assert bound not in legend(page)
    assert "within 5 % of the least: fewer no longer help" in legend(page)


def test_times_on_a_device_without_the_memory_are_dotted() -> None:
    found = study(["llava-1.5-13b"], [bare("v100"), bare("h200")])
    page = FIGURES["visual-tokens"].draw(found)
    _, dotted = the_line(page, "too large v100 fp16")
    _, solid = the_line(page, "time h200 fp16")
    assert not np.isnan(dotted).any()
    assert not np.isnan(solid).any()
    assert "does not fit" in legend(page)
    assert "does not fit" not in legend(
        FIGURES["visual-tokens"].draw(study(["vicuna-7b"], ["h200"]))
    )
