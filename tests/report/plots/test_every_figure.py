"""Of every figure: its words fit, its files are always the same, it appears where it applies."""

from __future__ import annotations

import pytest
from artists import check_words
from made_up import bare

from roofline.explore.study import Study, study
from roofline.report.plots import FIGURES, FORMATS, render
from roofline.report.plots.style import DOUBLE_IN, SINGLE_IN

DRAWN = {
    "one": ("time", "visual-tokens", "roofline", "memory", "answer"),
    "attainable": ("time", "visual-tokens", "roofline", "answer"),
    "accuracy": ("time", "visual-tokens", "memory", "accuracy-time", "accuracy-memory"),
    "crowded": ("roofline", "accuracy-time"),
    "nine": ("visual-tokens", "roofline", "memory", "answer"),
    "six": ("time", "visual-tokens", "roofline", "memory", "answer"),
    "two hundred ops": ("time", "roofline"),
    "two hundred prompts": ("time", "visual-tokens", "roofline", "memory", "answer"),
    "text": ("time", "roofline", "memory", "answer"),
    "vision": ("time", "roofline", "memory"),
}


@pytest.mark.parametrize("width_in", [SINGLE_IN, DOUBLE_IN])
@pytest.mark.parametrize(
    ("case", "name"), [(case, name) for case, names in DRAWN.items() for name in names]
)
def test_words_fit_into_the_page_and_do_not_overlap(
    case: str, name: str, width_in: float, studies: dict[str, Study]
) -> None:
    page = FIGURES[name].draw(studies[case], width_in)
    assert page.get_figwidth() == width_in
    assert page.get_figheight() < 13.0 * (DOUBLE_IN / width_in)
    check_words(page)


def test_of_two_hundred_prompts_a_figure_shows_some_and_says_so(
    studies: dict[str, Study],
) -> None:
    page = FIGURES["time"].draw(studies["two hundred prompts"])
    names = [label.get_text() for label in page.axes[0].get_yticklabels()]
    assert len(names) == 16
    assert (names[0], names[-1]) == ("576", "400 prumerge")
    assert page.get_suptitle() == "185 prompts between these not shown"


def test_what_has_nothing_to_show_does_not_apply(studies: dict[str, Study]) -> None:
    always = {"time", "roofline", "memory"}

    def applying(case: str) -> set[str]:
        return {name for name, figure in FIGURES.items() if figure.applies(studies[case])}

    assert applying("vision") == always
    assert applying("text") == always | {"answer"}
    assert applying("one") == always | {"answer", "visual-tokens"}
    costs = {"accuracy-time", "accuracy-energy", "accuracy-memory"}
    assert applying("accuracy") == always | {"answer", "visual-tokens"} | costs


@pytest.mark.parametrize("name", FIGURES)
def test_a_file_is_of_its_format_and_always_the_same(
    name: str, one: Study, scored: Study, recorded: Study
) -> None:
    figure = FIGURES[name]
    study = next(found for found in (one, scored, recorded) if figure.applies(found))
    starts = {"png": b"\x89PNG\r\n", "svg": b"<?xml", "pdf": b"%PDF"}

    assert set(FORMATS) == set(starts)
    page, again = figure.draw(study), figure.draw(study)
    files = {form: render(page, form) for form in reversed(FORMATS)}
    for form in FORMATS:
        assert files[form].startswith(starts[form])
        assert render(again, form) == files[form]  # whatever was written before
    assert figure.alt(study).endswith(".")
    assert figure.name == name


def test_alt_texts_speak_of_what_is_there() -> None:
    tower = FIGURES["roofline"].alt(study(["clip-vit-l-336"], [bare("h200")]))
    assert "arrows" not in tower
    several = study(["llama-2-7b"], [bare("v100")], ["int4"], visual_tokens=[576, 144, 40])
    assert FIGURES["roofline"].draw(several).get_suptitle() == "2 more prompts not shown"
    assert "bound by compute throughout" in FIGURES["visual-tokens"].alt(several)
