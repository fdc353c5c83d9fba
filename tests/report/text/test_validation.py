"""A validation as text: its figures, its headline, and that it fits where it is read."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from roofline.records.validation import Validation
from roofline.report.text.validation import headline, render_validation

Made = Callable[..., Validation]


def cells(text: str, start: str) -> list[list[str]]:
    """Of all Markdown rows whose first cell is `start`."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [row for row in rows if row[0] == start]


def test_flops_are_shown_to_the_last_one(validation: Made) -> None:
    text = render_validation(validation(), "md")

    assert cells(text, "llm")[0] == [
        *("llm", "8,180,012,345,678", "8,180,012,345,678", "0", "FlopCounterMode")
    ]
    assert cells(text, "vision")[0][1:4] == ["366,000,000,001", "366,000,000,000", "+1"]


def test_bytes_have_a_relative_difference(validation: Made) -> None:
    text = render_validation(validation(), "md")

    assert cells(text, "llm")[1] == [
        *("llm", "memory access", "20.5 GB", "20.5 GB", "0 B", "traced model")
    ]
    assert cells(text, "whole")[0] == [
        *("whole", "peak memory", "9.90 GB", "10.0 GB", "-1.0 %", "allocator")
    ]


def test_every_cell_has_its_error_its_noise_and_the_bounds_error(validation: Made) -> None:
    text = render_validation(validation(), "md").partition("## Predicted")[2]
    times = text.partition("## Accuracy")[0]

    assert cells(times, "llm") == [  # by size; measured 10 ms, the roofline 2 ms, the median 11
        ["llm", "16", "1", "9.00 ms", "10.0 ms", "-10 %", "10 %", "-80 %"],
        ["llm", "80", "1", "12.0 ms", "10.0 ms", "+20 %", "10 %", "-80 %"],
        ["llm", "616", "1", "10.5 ms", "10.0 ms", "+5.0 %", "10 %", "-80 %"],
    ]
    assert cells(times, "vision")[0][1:3] == ["616", "4"]
    order = [line.split()[1] for line in times.splitlines() if " ms " in line]
    assert list(dict.fromkeys(order)) == ["vision", "llm", "decode", "whole"]


def test_accuracy_of_each_component_beside_the_bounds(validation: Made) -> None:
    accuracies = render_validation(validation(), "md").partition("## Accuracy")[2]

    assert cells(accuracies, "llm") == [  # of 5, 10, 20 %; ∛(0.9 · 1.2 · 1.05) = 1.0428
        ["llm", "3", "10 % (80 %)", "18 % (80 %)", "20 % (80 %)", "1.04 (0.200)"]
    ]
    assert cells(accuracies, "decode")[0][2] == "3.0 % (80 %)"


def test_the_headline_is_about_prefill_of_the_llm(validation: Made) -> None:
    said = headline(validation())

    assert said == (
        "LLM prefill of 16 to 616 tokens: predicted times are 10 % off in the median and 20 % at "
        "worst over 3 cells; the plain roofline is 80 % off."
    )
    assert said in render_validation(validation(), "md")


def test_conditions_and_notes(validation: Made) -> None:
    text = render_validation(validation(), "md")

    assert text.startswith("# llava-small validated on A Processor\n")
    assert "- Took: 201 s\n" in text
    assert "- Quant: fp32\n" in text
    assert "- Threads: 2\n" in text
    assert text.endswith("- Note: a note\n")


def test_what_was_interrupted_says_so(validation: Made) -> None:
    assert "Interrupted" in render_validation(validation(complete=False), "md")
    assert "Interrupted" not in render_validation(validation(), "md")


@pytest.mark.parametrize("form", ["table", "md"])
def test_layers_without_content_are_left_out(form: str, validation: Made) -> None:
    text = render_validation(validation(counts=[], cells=[]), form)

    assert "No prefill was timed." in text
    assert "Counted by" not in text
    assert "Accuracy" not in text


def test_the_table_fits_a_terminal_and_says_the_same(validation: Made) -> None:
    text = render_validation(validation(notes=["a long note " * 20]), "table")

    assert max(map(len, text.splitlines())) <= 80
    assert " ".join(headline(validation()).split()) in " ".join(text.split())
    page = render_validation(validation(), "md")
    numbers = [number for row in cells(page, "llm") for number in row]
    assert all(re.search(rf"(^|\s){re.escape(n)}(\s|$)", text, re.MULTILINE) for n in numbers)


@pytest.mark.parametrize("form", ["table", "md", "json"])
def test_the_same_data_give_the_same_text(form: str, validation: Made) -> None:
    assert render_validation(validation(), form) == render_validation(validation(), form)


def test_json_is_the_file(validation: Made) -> None:
    assert render_validation(validation(), "json").encode() == validation().to_json()
