"""Of every figure: its words fit, its files are always the same, and each chart has a drawing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from artists import charted, check_words, drawn, words
from made_up import bare
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.text import Text
from msgspec.structs import replace

from roofline.errors import UnknownNameError
from roofline.explore.study import Study, study
from roofline.records.kept_patches import Inspection, Kept
from roofline.registry import Registry
from roofline.report.charts import Chart, report_charts
from roofline.report.charts.kept_tokens import kept_patches_chart, kept_tokens_chart
from roofline.report.plots import DRAWINGS, FORMATS, draw, draws, render
from roofline.report.plots import drawing as drawings_registry
from roofline.report.plots.sheet import PAGE_IN
from roofline.report.plots.style import AS_IT_IS, DOUBLE_IN, SERIES, SHAPES, SINGLE_IN, looks

DRAWN = {
    "one": ("time", "visual-tokens", "roofline", "memory", "answer"),
    "attainable": ("time", "visual-tokens", "roofline", "answer"),
    "accuracy": ("time", "visual-tokens", "memory", "accuracy-time", "accuracy-kv-cache"),
    "crowded": ("roofline", "accuracy-time"),
    "nine": ("visual-tokens", "roofline", "memory", "answer"),
    "six": ("time", "visual-tokens", "roofline", "memory", "answer"),
    "two hundred ops": ("time", "roofline"),
    "two hundred prompts": ("time", "visual-tokens", "roofline", "memory", "answer"),
    "text": ("time", "roofline", "memory", "answer"),
    "vision": ("time", "roofline", "memory"),
    "with text": ("visual-tokens", "answer"),
}


@pytest.mark.parametrize("width_in", [SINGLE_IN, DOUBLE_IN])
@pytest.mark.parametrize(
    ("case", "name"), [(case, name) for case, names in DRAWN.items() for name in names]
)
def test_words_fit_into_the_page_and_do_not_overlap(
    case: str, name: str, width_in: float, studies: dict[str, Study]
) -> None:
    page = drawn(name, studies[case], width_in)
    assert page.get_figwidth() == width_in
    assert page.get_figheight() <= PAGE_IN  # that of a page's text
    check_words(page)
    check_no_source_of_a_formula(page)
    assert min(text.get_fontsize() for text in words(page)) >= 6.0  # points, read on paper


def check_no_source_of_a_formula(page: Figure) -> None:
    """Tick labels of matplotlib's own are mathematics, which figures do not typeset."""
    shown = [text.get_text() for text in words(page)]
    assert not [text for text in shown if "$" in text or "mathdefault" in text]


def other_figures(recorded: Study) -> Iterator[tuple[str, Figure]]:
    """Of the drawings that are in no case above, by their names, in both widths."""
    kept = Kept(
        "fastervlm",
        64,
        {"kept": np.arange(9)},
        merging=np.full(64, 1 / 64),
        merges=True,
        attention=np.linspace(1e-5, 0.2, 64),
        fence=0.1,
    )
    photo = Inspection("x.png", "llava-1.5-7b", np.zeros((56, 56, 3), np.uint8), 8, (kept,))
    for width_in in (SINGLE_IN, DOUBLE_IN):
        for chart in (kept_tokens_chart(photo, "light"), kept_patches_chart([photo])):
            yield chart.name, draw(chart, width_in)
        yield "prediction", drawn("prediction", recorded, width_in)


def test_no_figure_shows_the_source_of_a_formula(recorded: Study) -> None:
    """Those of the cases are looked at where they are drawn."""
    seen = {name for names in DRAWN.values() for name in names}
    for name, page in other_figures(recorded):
        seen.add(name)
        with rc_context(AS_IT_IS):
            page.draw_without_rendering()
        check_no_source_of_a_formula(page)
    assert seen == set(DRAWINGS.names())


def test_of_two_hundred_prompts_a_figure_shows_some_and_says_so(
    studies: dict[str, Study],
) -> None:
    page = drawn("time", studies["two hundred prompts"])
    names = [label.get_text() for label in page.axes[0].get_yticklabels()]
    assert len(names) == 16
    assert names[:3] == ["576", "2 prumerge", "4 prumerge"]  # the pair, and others behind it
    assert names[-1] == "400 prumerge"
    assert page.get_suptitle() == "185 prompts between these not shown"
    several = study(
        model=["llama-2-7b"], hardware=[bare("v100")], quant=["int4"], visual_tokens=[576, 144, 40]
    )
    assert drawn("roofline", several).get_suptitle().startswith("2 more prompts not shown; ")


def test_what_a_page_has_no_room_for_is_left_out_whole_and_counted(
    studies: dict[str, Study],
) -> None:
    """Three panels of a model belong together: of two models' six a column has room for one's."""
    page = drawn("visual-tokens", studies["six"], SINGLE_IN)
    assert len(page.axes) == 3
    assert page.get_suptitle() == "3 more panels not shown"
    two = study(model=["llava-1.5-7b", "llava-1.5-13b"], hardware=[bare("h200")])
    page = drawn("visual-tokens", two, SINGLE_IN)
    assert len(page.axes) == 3
    assert PAGE_IN - page.get_figheight() > 1.9  # another would have had room
    page = drawn("roofline", studies["six"], SINGLE_IN)
    assert len(page.axes) == 3  # each stands for itself
    page = drawn("visual-tokens", studies["six"], DOUBLE_IN)
    assert len(page.axes) == 6
    assert page.get_suptitle() == ""


@pytest.mark.parametrize("name", report_charts())
def test_a_file_is_of_its_format_and_always_the_same(
    name: str, one: Study, scored: Study, recorded: Study
) -> None:
    kind = report_charts()[name]
    chart = charted(name, next(f for f in (one, scored, recorded) if kind.applies(f)))
    starts = {"png": b"\x89PNG\r\n", "svg": b"<?xml", "pdf": b"%PDF"}

    assert set(FORMATS) == set(starts)
    page, again = draw(chart), draw(chart)
    files = {form: render(page, form) for form in reversed(FORMATS)}
    for form in FORMATS:
        assert files[form].startswith(starts[form])
        assert render(again, form) == files[form]  # whatever was written before


def test_every_chart_has_a_drawing_of_its_name() -> None:
    assert set(DRAWINGS.names()) == {*report_charts(), "kept-tokens", "kept-patches"}


def test_a_drawing_of_ones_own_draws_charts_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings_registry, "DRAWINGS", Registry("drawing"))

    @draws("mine", "mine as well")
    def mine(chart: Chart, width_in: float) -> Figure:
        return Figure(figsize=(width_in, len(chart.title)))

    page = draw(Chart(name="mine as well", title="12345", alt=""), SINGLE_IN)
    assert page.get_size_inches() == pytest.approx([SINGLE_IN, 5])
    with pytest.raises(UnknownNameError, match="nobody"):
        draw(Chart(name="nobody", title="", alt=""))


def test_looks_differ_longer_than_colours_do() -> None:
    names = [str(i) for i in range(len(SERIES) * len(SHAPES))]
    assert len(set(looks(names).values())) == len(names)
    few = [look for _, look in zip(SERIES, looks(names).values(), strict=False)]
    assert len({marker for marker, _ in few}) == len({colour for _, colour in few}) == len(SERIES)


@pytest.mark.parametrize("name", ["time", "roofline", "memory"])
def test_a_dollar_in_a_name_is_no_formula(name: str) -> None:
    odd = replace(bare("v100"), name=r"$\frac{1$", title="$x^2$")
    page = drawn(name, study(model=["llava-1.5-7b"], hardware=[odd], visual_tokens=[40]))

    assert not any(text.get_parse_math() for text in page.findobj(Text))
    assert render(page, "svg")
