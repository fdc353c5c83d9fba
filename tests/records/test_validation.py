"""Errors of a validation, by arithmetic on the page."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest

from roofline.records.validation import Count, TimedCell, Validation, accuracy

Made = Callable[..., Validation]


def cell(attainable_time_s: float, *samples_s: float, component: str = "llm") -> TimedCell:
    return TimedCell(
        component=component,
        tokens=80,
        batch=1,
        attainable_time_s=attainable_time_s,
        roofline_time_s=attainable_time_s / 2,
        samples_s=list(samples_s),
    )


def test_a_cell_counts_its_fastest_sample() -> None:
    one = cell(1.2, 3.0, 1.0, 1.5)

    assert one.measured_time_s == 1.0
    assert one.median_time_s == 1.5
    assert one.noise == 0.5
    assert one.error == pytest.approx(0.2)
    assert one.roofline_error == pytest.approx(-0.4)


def test_accuracy_of_some_cells() -> None:
    found = accuracy([cell(0.5, 1.0), cell(1.1, 1.0), cell(2.0, 1.0)])

    assert found.cells == 3
    assert found.median == pytest.approx(0.5)  # of 0.1, 0.5, 1
    assert found.p90 == pytest.approx(0.9)  # four fifths of the way from 0.5 to 1
    assert found.worst == pytest.approx(1.0)
    assert found.geometric_mean == pytest.approx(1.1 ** (1 / 3))  # ½ · 1.1 · 2


def test_accuracy_of_the_plain_roofline() -> None:
    found = accuracy([cell(0.5, 1.0), cell(1.0, 1.0)], roofline=True)

    assert found.median == pytest.approx(0.625)  # of −0.75 and −0.5
    assert found.geometric_mean == pytest.approx(0.125**0.5)


def test_too_fast_and_too_slow_by_the_same_ratio_is_no_bias() -> None:
    assert accuracy([cell(2.0, 1.0), cell(0.5, 1.0)]).geometric_mean == pytest.approx(1.0)


def test_a_count_against_its_witness() -> None:
    count = Count(
        component="llm", quantity="flops", analytic=3.0, witnessed=5.0, witness="somebody"
    )

    assert count.difference == -2.0


def test_components_come_in_the_order_in_which_they_run(validation: Made) -> None:
    cells = [cell(1.0, 1.0, component=c) for c in ("whole", "else", "llm", "vision", "llm")]
    groups = validation(cells=cells).by_component

    assert list(groups) == ["vision", "llm", "whole", "else"]
    assert len(groups["llm"]) == 2


def test_the_file_reloads_and_has_the_errors_in_it(validation: Made) -> None:
    found = validation()
    document = json.loads(found.to_json())

    assert msgspec.json.decode(found.to_json(), type=Validation) == found
    (cell_80,) = [c for c in document["cells"] if (c["component"], c["tokens"]) == ("llm", 80)]
    assert cell_80["measured_time_s"] == 10e-3
    assert cell_80["median_time_s"] == 11e-3
    assert cell_80["error"] == pytest.approx(0.2)
    assert cell_80["roofline_error"] == pytest.approx(-0.8)
    assert cell_80["noise"] == pytest.approx(0.1)
    llm = document["accuracy"]["llm"]
    assert llm["predicted"]["median"] == pytest.approx(0.1)  # of 0.05, 0.1, 0.2
    assert llm["roofline"]["worst"] == pytest.approx(0.8)


def test_nothing_timed_is_a_validation_too(validation: Made) -> None:
    found = validation(cells=[], counts=[], complete=False)

    assert json.loads(found.to_json())["accuracy"] == {}
