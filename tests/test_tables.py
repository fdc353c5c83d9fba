"""Tables and labelled lines of text: columns, wrapping, and what stays together."""

from __future__ import annotations

import pytest

from roofline.tables import definitions, filled, grid


def test_a_column_is_as_wide_as_its_widest_cell_or_header() -> None:
    text = grid([["a", 1.5], ["bbb", 22]], ["N", "Number"])
    assert text.splitlines() == [
        "N    Number",
        "---  ------",
        "a       1.5",
        "bbb      22",
    ]


def test_markdown_has_rules_that_point_to_the_side() -> None:
    text = grid([["a", "1", "x"]], ["Name", "No", "Word"], "github", words=["Word"])
    assert text.splitlines() == [
        "| Name | No | Word |",
        "|------|---:|------|",
        "| a    |  1 | x    |",
    ]


def test_cells_wrap_at_their_width_and_others_leave_room() -> None:
    rows = [["aa bb", "x", "1"], ["c", "yy zz", "2"]]
    text = grid(rows, ["H", "W", "N"], words=["W"], widths=[2, None, None])
    assert text.splitlines() == [
        "H   W      N",
        "--  -----  -",
        "aa  x      1",
        "bb",
        "c   yy zz  2",
    ]


@pytest.mark.parametrize(("width", "lines"), [(5, 3), (4, 4)])
def test_a_cell_that_just_fits_is_one_line(width: int, lines: int) -> None:
    text = grid([["aa bb", ""]], ["H", "E"], widths=[width, 3])
    assert len(text.splitlines()) == lines


def test_labels_stand_before_a_block_of_text() -> None:
    words = "x " * 45
    text = definitions([("A", "one"), ("Longer", words.strip())])
    lines = text.splitlines()
    assert lines[0] == "A       one"
    assert lines[1].startswith("Longer  x x")
    assert lines[2].startswith(" " * 8 + "x")
    assert len(lines[1]) == 79  # 36 words of one letter behind eight columns
    assert definitions([("A", "one"), ("B", "two")], "github") == "- A: one\n- B: two"
    assert definitions([("A", ""), ("B", "two")]).endswith("B  two")


def test_an_address_that_is_too_long_beside_its_label_stands_below_it() -> None:
    just, more = "https://" + "x" * 64, "https://" + "x" * 65
    assert definitions([("Longer", just)]) == f"Longer  {just}"
    assert definitions([("Longer", more), ("A", "one")]) == f"Longer\n  {more}\nA       one"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("x" * 40 + " " + "y" * 39, 1),  # 80 columns
        ("x" * 40 + " " + "y" * 40, 2),
    ],
)
def test_lines_have_eighty_columns(text: str, lines: int) -> None:
    assert len(filled(text).splitlines()) == lines


def test_a_number_stays_with_what_it_counts() -> None:
    first, second = filled("x" * 75 + " 16 GB of it").splitlines()
    assert (first, second) == ("x" * 75, "16 GB of it")
    assert filled("x" * 75 + " of 16").endswith(" of\n16")


def test_further_lines_are_indented() -> None:
    lines = filled("x " * 60, "- ", "    ").splitlines()
    assert lines[0].startswith("- x x")
    assert lines[1].startswith("    x x")
