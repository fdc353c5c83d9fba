"""Text of others: nothing that a terminal obeys, nothing that Markdown takes for markup."""

import re

import pytest

from roofline import plain_text as plain
from roofline.report.document import Code, Document, Paragraph, Table, markdown
from roofline.tables import definitions, grid, paragraph

EVIL = "x\n\n# Heading\n\n![i](http://e/x.png) <img src=x> [a](b) `c` \x1b[31mred"


def harmless(text: str) -> bool:
    """No line of its own, no heading, image, link, tag or sequence."""
    lines = text.splitlines()
    return (
        "\x1b" not in text
        and not any(line.startswith("# ") for line in lines)
        and all(text[at - 1] == "\\" for at in range(len(text)) if text[at] in "<[`")
    )


@pytest.mark.parametrize(
    "text",
    [
        plain.markdown(EVIL),
        paragraph(EVIL, "github"),
        definitions([(EVIL, EVIL)], "github"),
        "\n".join(grid([[EVIL, "1"]], ["Model", EVIL], "github").splitlines()),
        markdown(Document(EVIL, (Paragraph(EVIL),))).removeprefix("# "),
        markdown(Document("t", (Table(EVIL, ("a", EVIL), ((EVIL, "1"),)),))).removeprefix("# "),
    ],
    ids=["text", "paragraph", "list", "table", "document", "document's table"],
)
def test_markdown_shows_it_as_it_is(text: str) -> None:
    assert harmless(text)
    assert "Heading" in text


def test_each_row_stays_a_row() -> None:
    assert len(grid([[EVIL, EVIL]], ["a", "b"], "github").splitlines()) == 3
    assert len(grid([[EVIL, EVIL]], ["a", "b"]).splitlines()) == 3
    assert "|" not in plain.markdown("a|b").replace("\\|", "")


@pytest.mark.parametrize(
    "text",
    ["vicuna-7b", "llava_small", "40 visual + 40 text tokens", "-", "C# and 3 > 2", "R&D", "±5 %"],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert plain.markdown(text).replace("\\>", ">") == text


@pytest.mark.parametrize(
    "text",
    [
        "# a",
        "a\n## b",
        "===",
        "> a",
        "---",
        "- a",
        "+ a",
        "1. a",
        "12) a",
        " - a",
        "$x^2$",
        "$$x$$",
    ],
)
def test_what_starts_a_line_is_escaped(text: str) -> None:
    assert "\\" in plain.markdown(text)


@pytest.mark.parametrize("mark", ["-", "+", "*", "1.", "12)", "#", ">", "---"])
def test_what_a_wrapped_line_begins_with_is_text(mark: str) -> None:
    lines = paragraph(f"{'x' * 80} {mark} second", "github").splitlines()

    assert len(lines) == 2
    assert re.match(r"(\\|\d+\\[.)])", lines[1])
    assert lines[1].replace("\\", "") == f"{mark} second"


@pytest.mark.parametrize("text", ["1.5", "v1. a", "a-b", "2-3", "+5 %", "1.", "x+ y", "a 1.5 b"])
def test_numbers_and_signs_in_words_are_left_alone(text: str) -> None:
    assert plain.markdown(text) == text


def test_a_command_cannot_leave_its_fence() -> None:
    page = markdown(Document("t", (Code("roofline --model 'a\n```\n# Heading'"),)))

    assert "````sh" in page
    assert page.rstrip().endswith("````")
