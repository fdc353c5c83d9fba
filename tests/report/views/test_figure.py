"""`estimate.plot()`: the charts of a report, of one estimate."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from toy import device, lmm, toy

from roofline import analyze, count, sweep
from roofline.errors import InputError
from roofline.explore.study import study, study_of
from roofline.report.charts import report_charts
from roofline.units import si

pytest.importorskip("matplotlib")

CHARTS = ("time", "roofline", "memory", "visual-tokens", "answer")


def reduced(**axes: Any) -> Any:
    return analyze("llava-1.5-7b", "h200", visual_tokens=40, reducer="prumerge", **axes)


@pytest.mark.parametrize("chart", CHARTS)
def test_a_chart_is_a_figure_that_a_notebook_shows(chart: str) -> None:
    from matplotlib.figure import Figure

    figure = reduced().plot(chart, width_in=3.4)
    png, size = figure._repr_png_()

    assert isinstance(figure, Figure)
    assert figure.get_size_inches()[0] == 3.4
    assert png.startswith(b"\x89PNG")
    assert size["width"] == round(3.4 * 96)


def test_the_figure_shows_the_estimate_beside_the_unreduced_prompt() -> None:
    axes, *_ = reduced().plot().axes
    times = {text.get_text().strip() for text in axes.texts}

    assert [label.get_text() for label in axes.get_yticklabels()] == ["576", "40 prumerge"]
    whole = reduced().end_to_end  # as `roofline analyze` prints them
    assert si(whole.roofline_time_s, "s") == "3.44 ms"
    assert {si(whole.attainable_time_s, "s"), "3.44 ms"} <= times


def test_the_study_is_that_of_what_was_asked() -> None:
    asked = {"visual_tokens": [40, 144], "text_tokens": [40, 80], "batch": 4}
    found = study_of(sweep("llava-1.5-7b", "h200", quant="int8", attention="eager", **asked))
    same = study(
        model="llava-1.5-7b",
        hardware="h200",
        quant="int8",
        attention="eager",
        reducer="none",
        **asked,
    )

    for chart in report_charts().values():
        assert chart.applies(found) == chart.applies(same)
        if chart.applies(found):
            assert chart.of(found) == chart.of(same)


def test_a_generation_is_drawn_with_its_own_answers() -> None:
    found = study_of(reduced(stage="generate", output_tokens=17))
    prompt = found.prompts[-1]

    assert prompt.answer().output_tokens == 17
    assert prompt.answer().predicted_time_s == pytest.approx(
        float(reduced(stage="generate", output_tokens=17).end_to_end.attainable_time_s)
    )


def test_an_estimate_of_specs_is_drawn_of_these_specs() -> None:
    prompt = study_of(toy(lmm(), device())).prompts[-1]

    assert prompt.device == device()
    assert prompt.predicted_time_s == float(toy(lmm(), device()).end_to_end.attainable_time_s)


@pytest.mark.parametrize(
    ("estimate", "chart", "told"),
    [
        (lambda: reduced(), "tim", "unknown chart 'tim': did you mean time?"),
        (lambda: reduced(), "prediction", "nothing to show of this estimate: choose one of answ"),
        (lambda: count("llava-1.5-7b"), "time", "counts on no device have no times to draw"),
        (
            lambda: analyze("vicuna-7b", "v100", accounting="llm-viewer"),
            "time",
            "charts are of exact accounting, and this is llm-viewer",
        ),
        (
            lambda: analyze("vicuna-7b", "v100", llm_layers=[(2, 576), (30, 288)]),
            "time",
            "`llm_layers` is in no chart",
        ),
        (
            lambda: analyze("vicuna-7b", "v100", visual_tokens=[1, 2], batch=[1, 2]),
            "time",
            "a chart needs every combination of the counts",
        ),
        (
            lambda: analyze("vicuna-7b", "v100", visual_tokens=np.arange(1, 700)),
            "time",
            "a chart is of up to 512 prompts, and here are 699: ask for some",
        ),
        (lambda: analyze("vicuna-7b", "v100", visual_tokens=[]), "time", "nothing to draw"),
    ],
    ids=["name", "chart", "counts", "accounting", "layers", "zipped", "many", "none"],
)
def test_what_cannot_be_drawn_is_said_on_a_line(estimate: Any, chart: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        estimate().plot(chart)

    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("chart", [None, 3, ["time"]])
def test_a_chart_goes_by_its_name(chart: Any) -> None:
    with pytest.raises(
        InputError, match=r"a chart goes by its name, one of .*time.*, not "
    ) as told:
        reduced().plot(chart)

    assert str(told.value).endswith(f"not {chart!r}")


def test_a_sweep_over_all_counts_is_drawn_over_visual_tokens() -> None:
    every = sweep(
        "llava-1.5-7b",
        "h200",
        visual_tokens=np.arange(1, 577),
        text_tokens=[40, 80],
        batch=[1, 8, 32],
    )
    assert every.shape == (576, 2, 3)
    page = every.plot("visual-tokens")
    curves = every.end_to_end.attainable_time_s.reshape(576, 6).T
    lines = {line.get_gid(): line for axes in page.axes[::3] for line in axes.lines}

    assert page.get_suptitle() == "2 more rows not shown"
    for axes, curve in zip(page.axes[::3], curves, strict=False):
        (line,) = (line for line in axes.lines if line.get_gid() == "time h200 fp16")
        assert np.array_equal(line.get_xdata(), np.arange(1, 577))
        assert np.allclose(line.get_ydata(), curve)
    assert "requested" not in lines  # counts that stand for all are nobody's own


def test_counts_that_stand_for_all_reach_from_the_fewest_to_the_most() -> None:
    every = sweep("vicuna-7b", "v100", visual_tokens=np.arange(5, 2005))
    counts = [prompt.visual_tokens for prompt in study_of(every, each_prompt=False).prompts]

    assert {5, 2004} <= set(counts)
    assert 12 < len(counts) < 100
    with pytest.raises(InputError, match="here are 600"):
        study_of(sweep("vicuna-7b", "v100", batch=np.arange(1, 601)), each_prompt=False)


def test_as_many_prompts_are_drawn_as_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.explore.study.of_estimate.MOST", 2)

    assert len(study_of(sweep("vicuna-7b", "v100", visual_tokens=[1, 2])).prompts) >= 2
    with pytest.raises(InputError, match="up to 2 prompts, and here are 3"):
        study_of(sweep("vicuna-7b", "v100", visual_tokens=[1, 2, 3]))


def test_without_matplotlib_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "roofline.report.views.figure.find_spec",
        lambda name: None if name == "matplotlib" else found(name),
    )

    with pytest.raises(InputError, match=r"plot\(\) needs matplotlib: pip install matplotlib$"):
        reduced().plot()
