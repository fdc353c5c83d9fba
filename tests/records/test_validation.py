"""Errors of a validation, by arithmetic on the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import inf

import msgspec
import pytest
from msgspec.structs import replace

from roofline.records.validation import Count, TimedCell, Validation, Verdict, accuracy

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


@pytest.mark.parametrize(
    ("analytic", "witnessed", "error"),
    [(3.0, 4.0, -0.25), (5.0, 4.0, 0.25), (0.0, 0.0, 0.0), (1.0, 0.0, inf), (-1.0, 0.0, -inf)],
)
def test_a_count_is_off_by_a_share_of_what_was_witnessed(
    analytic: float, witnessed: float, error: float
) -> None:
    assert counted("flops", analytic, witnessed).error == error


def counted(quantity: str, analytic: float, witnessed: float) -> Count:
    return Count(
        component="llm",
        quantity=quantity,
        analytic=analytic,
        witnessed=witnessed,
        witness="somebody",
    )


def banded(low_s: float, high_s: float, *samples_s: float) -> TimedCell:
    return replace(
        cell(1.0, *samples_s), attainable_time_low_s=low_s, attainable_time_high_s=high_s
    )


@pytest.mark.parametrize(
    ("samples_s", "inside"),
    [((0.8, 9.0), True), ((1.2,), True), ((0.7, 1.0), False), ((1.3,), False)],
)
def test_a_cell_is_in_its_band_by_its_fastest_sample(
    samples_s: tuple[float, ...], inside: bool
) -> None:
    assert banded(0.8, 1.2, *samples_s).in_band is inside


def test_a_cell_without_a_band_is_in_none() -> None:
    assert cell(1.0, 1.0).in_band is None


def test_flops_hold_to_the_last_one(validation: Made) -> None:
    equal, off = counted("flops", 8e12, 8e12), counted("vector_flops", 8e12 - 1, 8e12)

    (verdict,) = validation(counts=[equal, equal], cells=[]).verdicts
    assert verdict == Verdict(layer="flops", holds=True, agree=2, compared=2, off=0.0)
    (verdict,) = validation(counts=[equal, off], cells=[]).verdicts
    assert verdict == Verdict(layer="flops", holds=False, agree=1, compared=2, off=1 / 8e12)


def test_bytes_hold_within_a_share(validation: Made) -> None:
    near, far = counted("weight_bytes", 95.0, 100.0), counted("kv_bytes", 106.0, 100.0)

    (verdict,) = validation(counts=[near], cells=[]).verdicts
    assert verdict == Verdict(layer="bytes", holds=True, agree=1, compared=1, off=0.05)
    (verdict,) = validation(counts=[near, far], cells=[]).verdicts
    assert verdict == Verdict(layer="bytes", holds=False, agree=1, compared=2, off=0.06)


def test_times_hold_where_nine_in_ten_are_in_their_bands(validation: Made) -> None:
    inside, outside = banded(0.8, 1.2, 1.0), banded(0.8, 1.2, 2.0)

    def verdict(*cells: TimedCell, **changes: str) -> Verdict:
        (found,) = validation(counts=[], cells=list(cells), **changes).verdicts
        return found

    assert verdict(*[inside] * 9, outside) == Verdict(
        layer="time", holds=True, agree=9, compared=10, off=0.0
    )
    assert verdict(*[inside] * 8, outside) == Verdict(
        layer="time", holds=False, agree=8, compared=9, off=0.0
    )
    assert verdict(outside, cell(1.0, 4.0)) == Verdict(  # 1 of 2 s and 1 of 4 s
        layer="time", holds=False, agree=0, compared=1, off=0.625
    )
    assert verdict(cell(1.0, 2.0)) == Verdict(
        layer="time",
        holds=None,
        agree=0,
        compared=0,
        off=0.5,
        why_open="no prediction has a band",
    )
    untrusted = verdict(inside, calibration_untrusted="noise")
    assert (untrusted.holds, untrusted.why_open) == (None, "the run is untrusted")


def test_verdicts_are_in_the_file(validation: Made) -> None:
    verdicts = json.loads(validation(cells=[banded(0.8, 1.2, 1.0)]).to_json())["verdicts"]

    assert [(each["layer"], each["holds"]) for each in verdicts] == [
        ("flops", False),  # one more than was counted
        ("bytes", True),
        ("time", True),
    ]
    assert validation(counts=[], cells=[]).verdicts == []


def test_a_file_from_before_there_were_bands_is_read(validation: Made) -> None:
    document = json.loads(validation().to_json())
    for name in ("verdicts", "attention_kernels", "calibration_untrusted"):
        del document[name]
    for row in document["cells"]:
        for name in ("attainable_time_low_s", "attainable_time_high_s", "in_band", "disturbance"):
            del row[name]
    found = msgspec.json.decode(msgspec.json.encode(document), type=Validation)

    assert found == validation()
    assert [(verdict.layer, verdict.holds) for verdict in found.verdicts][-1] == ("time", None)


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
