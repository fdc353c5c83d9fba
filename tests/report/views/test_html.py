"""An estimate in a notebook: a self-contained table, escaped, legible on any background."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace
from toy import device, llm, lmm, toy

from roofline import Counts, analyze, count
from roofline.units import si


class Cells(HTMLParser):
    """Rows of a table, and every tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.attributes: dict[str, set[str]] = {}
        self.feed(page)
        assert not self.open, "a tag that is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def page(estimate: Counts) -> str:
    return estimate._repr_html_()


def test_the_table_has_a_row_a_component_and_one_for_all() -> None:
    estimate = analyze("llava-1.5-7b", "h200", visual_tokens=40, reducer="prumerge")
    head, *rows = Cells(page(estimate)).rows
    found = {row[0]: dict(zip(head, row, strict=True)) for row in rows}

    parts = {**estimate.components, "end to end": estimate.end_to_end}
    assert list(found) == list(parts)
    for name, part in parts.items():
        assert found[name] == {
            "Component": name,
            "FLOPs": si(part.flops, "FLOP"),
            "Traffic": si(part.memory_access_bytes, "B"),
            "Weights": si(part.weight_bytes, "B"),
            "Roofline": si(part.roofline_time_s, "s"),
            "Attainable": si(part.attainable_time_s, "s"),
            "Bound": str(part.bound),
        }


def test_the_saving_is_a_sentence() -> None:
    estimate = analyze("llava-1.5-7b", "h200", visual_tokens=40, reducer="prumerge")
    text = page(estimate)

    assert "<strong>llava-1.5-7b with prumerge on h200, fp16</strong>" in text
    assert f" makes it {estimate.comparison.speedup:.1f}x as fast (" in text
    assert "With an answer of 128 tokens" in text  # what is left of it then
    assert "as fast" not in page(analyze("llava-1.5-7b", "h200"))


def test_the_saving_of_many_is_a_range() -> None:
    estimate = analyze("llava-1.5-7b", "h200", visual_tokens=[40, 576])

    most = f"{estimate.comparison.speedup[0]:.1f}x"
    assert f"Saving: 1.0x to {most} (some a tie) as fast as all" in page(estimate)


def test_counts_have_no_columns_of_time() -> None:
    head, *_ = Cells(page(count("llava-1.5-7b", visual_tokens=40))).rows

    assert head == ["Component", "FLOPs", "Traffic", "Weights"]


@pytest.mark.parametrize("visual", [40, [1, 40], []])
def test_it_runs_nothing_loads_nothing_and_sets_no_colour(visual: object) -> None:
    text = page(toy(lmm(), visual_tokens=visual))
    cells = Cells(text)

    assert not {"script", "style", "img", "link", "iframe"} & set(cells.tags)
    assert set(cells.attributes) <= {"style", "scope"}
    assert not re.search(r"https?:|url\(|#[0-9a-fA-F]{3}", text)
    colours = re.findall(r"(?<!-)(?:color|background):\s*([\w-]+)", text)
    assert set(colours) <= {"inherit", "none"}


def test_the_table_takes_the_colour_of_the_page() -> None:
    """Browsers reset it at a table where a page has no doctype: black on black."""
    text = page(toy(lmm()))

    for tag in re.findall(r"<(?:table|th|td)\b[^>]*>", text):
        assert "color:inherit" in tag


def test_names_are_escaped() -> None:
    name = "<img src=x onerror=alert(1)>&\"'"
    text = page(toy(replace(llm(), name=name), device(name="<b>")))

    assert "<img" not in text
    assert "<b>" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;&amp;" in text
