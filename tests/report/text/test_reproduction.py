"""A reproduction as text: printed beside recomputed digits, and why they differ."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roofline.explore.published_tables import PrintedCell, Reproduction, StatedRow
from roofline.report.text.reproduction import render_reproduction

COLUMNS = ("flops_t", "time_ms", "memory_gb", "activation_gb")


def cell(column: Any, printed: str, recomputed: float, status: Any, **given: str) -> PrintedCell:
    fields = {"model": "m", "quant": "fp16", "method": "All", "why": "because"} | given
    return PrintedCell(
        column=column, printed=printed, recomputed=recomputed, status=status, **fields
    )


def found() -> Reproduction:
    first = zip(
        COLUMNS,
        ("9.3", "4.60", "1.0", "2"),
        (9.312, 4.61, 1.04, 2.2),
        ("match", "match, padded zero", "match, scaled", "match"),
        strict=True,
    )
    second = zip(
        COLUMNS,
        ("1.1", "7.0", "3.0", "4.0"),
        (1.149, 5.0, 9.96, 4.0),
        ("match", "slip", "mismatch", "match"),
        strict=True,
    )
    cells = [cell(c, p, r, s, why=f"as {s}") for c, p, r, s in first]
    cells += [cell(c, p, r, s, method="Few", why=f"as {s}") for c, p, r, s in second]
    stated = StatedRow("m", "int4", "All", 616, 9.31, 46.2, 14.56, 0.5, "compute")
    return Reproduction("A paper", tuple(cells), (stated,))


def rows(text: str) -> list[list[str]]:
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [[value.strip() for value in line] for line in lines]


def test_cells_stand_by_model_and_method_with_their_marks() -> None:
    assert rows(render_reproduction(found(), "md"))[:3] == [
        ["LLM", "Method", "FLOPs, T", "Time, ms", "Traffic, GB", "Stored, GB"],
        ["m fp16", "All", "9.3→9.31", "4.60→4.610p", "1.0→1.04s", "2→2.2"],
        ["m fp16", "Few", "1.1→1.149", "7.0→5.00!", "3.0→9.96?", "4.0→4.00"],
    ]


@pytest.mark.parametrize(
    ("printed", "recomputed", "shown"),
    [
        ("9.3", 9.349, "9.349"),
        ("9.3", 9.312, "9.31"),
        ("4", 4.49, "4.49"),
        ("4", 4.42, "4.4"),
        ("4.60", 4.6449, "4.6449"),
        ("4.60", 4.6444, "4.644"),
    ],
)
def test_one_digit_more_than_printed_or_two_around_a_five(
    printed: str, recomputed: float, shown: str
) -> None:
    """9.35 would hide whether it rounds to 9.3 or to 9.4."""
    cells = tuple(cell(column, printed, recomputed, "match") for column in COLUMNS)
    text = render_reproduction(Reproduction("s", cells, ()), "md")
    assert rows(text)[1][2:] == [f"{printed}→{shown}"] * 4


def test_the_title_counts_what_matches() -> None:
    text = render_reproduction(found(), "table")
    assert text.startswith("A paper\n\n6 of 8 cells match at printed precision")


def test_marks_are_explained_and_faults_one_by_one() -> None:
    text = render_reproduction(found(), "table")
    legend = text.split("\n\n")[3].splitlines()
    assert legend == [
        "p  as match, padded zero",
        "s  as match, scaled",
        "!  m fp16 Few: as slip",
        "?  m fp16 Few: as mismatch",
    ]
    page = render_reproduction(found(), "md").split("\n\n")[3].splitlines()
    assert page == [f"- {line}" for line in legend]


def test_long_reasons_are_indented_behind_their_mark() -> None:
    long = tuple(cell(column, "1", 2.0, "slip", why="word " * 30) for column in COLUMNS)
    for form, indent in (("table", 3), ("md", 5)):
        text = render_reproduction(Reproduction("s", long, ()), form)
        legend = text.split("\n\n")[3].splitlines()
        assert legend[1].startswith(" " * indent + "word")


def test_rows_at_stated_lengths_follow() -> None:
    assert rows(render_reproduction(found(), "md"))[3:] == [
        [
            *("LLM", "Quant", "Tokens", "FLOPs, T", "Time, ms", "Traffic, GB", "Stored, GB"),
            "Bound",
        ],
        ["m", "int4", "616", "9.31", "46.2", "14.6", "0.500", "compute"],
    ]


def test_json_is_the_document() -> None:
    assert render_reproduction(found(), "json").startswith('{\n  "source": "A paper",\n')
    assert json.loads(render_reproduction(found(), "json")) == json.loads(
        json.dumps(found().to_dict())
    )
