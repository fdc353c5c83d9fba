"""A validation as text: its figures, its headline, and that it fits where it is read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import msgspec
import pytest
from msgspec.structs import replace

from roofline.records.validation import Count, Validation
from roofline.report.text.validation import headline, render_validation
from roofline.units import si

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


def verdicts(found: Validation) -> list[str]:
    text = render_validation(found, "md").partition("## Verdicts\n\n")[2]
    return text.partition("\n\n")[0].splitlines()


def banded(found: Validation, high: float) -> Validation:
    """Cells of 10 ms whose bands end so much above what is predicted."""
    cells = [
        replace(
            cell,
            attainable_time_low_s=0.9 * cell.attainable_time_s,
            attainable_time_high_s=high * cell.attainable_time_s,
        )
        for cell in found.cells
    ]
    return replace(found, cells=cells)


def test_each_layer_has_its_verdict(validation: Made) -> None:
    found = validation()
    # of six cells the one that is predicted to take 12 ms took less than 10.8
    assert verdicts(banded(found, 1.2)) == [
        "- FLOPs: fails: 1 of 2 counts differ",
        "- Traffic and memory: holds: 2 of 2 are within 5.0 %, the farthest is 1.0 % off",
        "- Time: fails: 5 of 6 cells are inside the bands of their predictions, which promise "
        "90 %; 7.5 % off in the median",
    ]
    inside = [cell for cell in found.cells if cell.attainable_time_s < 12e-3]
    assert verdicts(banded(replace(found, cells=inside), 1.2))[2].startswith(
        "- Time: holds: 5 of 5 cells are inside the bands"
    )
    nothing = Count(
        component="llm", quantity="kv_bytes", analytic=1.0, witnessed=0.0, witness="somebody"
    )
    assert verdicts(validation(counts=[nothing], cells=[])) == [
        "- Traffic and memory: fails: 0 of 1 are within 5.0 %, the farthest is where nothing was "
        "counted"
    ]
    assert verdicts(replace(found, counts=found.counts[:1])) == [
        "- FLOPs: holds: all of 1 counts are equal to the last FLOP",
        "- Time: open, since no prediction has a band: 7.5 % off in the median",
    ]
    assert "Verdicts" not in render_validation(validation(counts=[], cells=[]), "md")


def test_a_single_sample_shows_no_noise(validation: Made) -> None:
    found = validation()
    once = [replace(cell, samples_s=cell.samples_s[:1]) for cell in found.cells]

    assert "1 sample" not in render_validation(found, "md")
    assert "1 sample" in render_validation(replace(found, cells=once), "md")


def test_a_cell_outside_its_band_is_marked(validation: Made) -> None:
    text = render_validation(banded(validation(), 1.2), "md")
    times = text.partition("## Predicted")[2].partition("## Accuracy")[0]

    assert [row[5] for row in cells(times, "llm")] == ["-10 %", "+20 % !", "+5.0 %"]
    assert "with ! outside the band" in times


def test_conditions_name_the_kernels_of_attention(validation: Made) -> None:
    kernels = {"vision": ["flash"], "llm": ["cudnn"]}
    text = render_validation(validation(attention_kernels=kernels), "md")

    assert "- Attention kernels: flash in vision, cudnn in llm\n" in text


def test_the_headline_is_about_prefill_of_the_llm(validation: Made) -> None:
    expected = headline(validation())

    assert expected == (
        "LLM prefill of 16 to 616 tokens: predicted times are 10 % off in the median and 20 % at "
        "worst over 3 cells; the plain roofline is 80 % off."
    )
    assert expected in render_validation(validation(), "md")


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


def test_the_page_has_its_parts_in_order_each_explained(validation: Made) -> None:
    parts = render_validation(validation(), "md").split("\n\n")
    titles = [part for part in parts if part.startswith("#")]

    assert titles == [
        "# llava-small validated on A Processor",
        "## Verdicts",
        "## FLOPs",
        "## Traffic and memory",
        "## Predicted against measured time",
        "## Accuracy",
        "## Conditions",
    ]
    expected = {title: parts[parts.index(title) + 1] for title in titles}
    assert expected["## FLOPs"].startswith("Matmuls and attention, 2 FLOPs per multiply-accumulate")
    assert "the fastest sample" in expected["## Predicted against measured time"]
    assert "In brackets the plain roofline's." in expected["## Accuracy"]


def test_every_row_stands_under_its_header(validation: Made) -> None:
    page = render_validation(validation(), "md")
    flops, others, times, accuracies = cells(page, "Component")

    assert flops == ["Component", "Analysis", "Counted", "Difference", "Counted by"]
    assert others == ["Component", "Quantity", *flops[1:]]
    assert times == [
        *("Component", "Tokens", "Batch", "Predicted", "Measured", "Error", "Noise", "Roofline")
    ]
    assert accuracies == ["Component", "Cells", "Median", "p90", "Worst", "Bias"]
    # measured 10 ms: 10 % too slow, and the roofline of 2 ms a fifth of it
    assert cells(page, "vision")[1:] == [
        ["vision", "616", "4", "11.0 ms", "10.0 ms", "+10 %", "10 %", "-80 %"],
        ["vision", "1", "10 % (80 %)", "10 % (80 %)", "10 % (80 %)", "1.10 (0.200)"],
    ]
    assert cells(page, "decode") == [
        ["decode", "80", "1", "9.70 ms", "10.0 ms", "-3.0 %", "10 %", "-80 %"],
        ["decode", "1", "3.0 % (80 %)", "3.0 % (80 %)", "3.0 % (80 %)", "0.970 (0.200)"],
    ]


@pytest.mark.parametrize(
    ("analytic", "witnessed", "expected"),
    [(10e9, 10e9, "0 B"), (3e9, 0.0, "3.00 GB"), (11e9, 10e9, "+10 %"), (9e9, 10e9, "-10 %")],
)
def test_a_difference_is_relative_where_it_can_be(
    analytic: float, witnessed: float, expected: str, validation: Made
) -> None:
    count = Count(
        component="whole",
        quantity="peak_memory_bytes",
        analytic=analytic,
        witnessed=witnessed,
        witness="allocator",
    )
    (row,) = cells(render_validation(validation(counts=[count], cells=[]), "md"), "whole")
    assert row == [
        "whole",
        "peak memory",
        si(analytic, "B"),
        si(witnessed, "B"),
        expected,
        "allocator",
    ]


def test_conditions_are_those_of_the_run_and_no_others(validation: Made) -> None:
    around = {
        "device": "A Processor",
        "device_memory_bytes": 16e9,
        "cpu": "A CPU",
        "threads": 2,
        "cuda": None,
        "system": "Linux",
        "roofline": "1.2.3",
        "torch": "2.13.0",
    }
    found = validation(environment=around, notes=["first", "second"])
    lines = render_validation(found, "md").partition("## Conditions\n\n")[2].splitlines()

    assert lines == [
        "- Date: 2026-01-02T03:04:05+00:00",
        "- Took: 201 s",
        "- Model: llava-small",
        "- Hardware: my-cpu",
        "- Quant: fp32",
        "- Device: A Processor",
        "- Memory: 16.0 GB",
        "- CPU: A CPU",
        "- Threads: 2",
        "- System: Linux",
        "- Software: roofline 1.2.3, torch 2.13.0",
        "- Note: first",
        "- Note: second",
    ]


@pytest.mark.parametrize("form", ["table", "md"])
def test_the_order_of_cells_does_not_matter(form: str, validation: Made) -> None:
    found = validation()
    turned = validation(cells=found.cells[::-1])
    assert render_validation(turned, form) == render_validation(found, form)


def test_the_headline_counts_the_llms_cells_alone(validation: Made) -> None:
    others = [cell for cell in validation().cells if cell.component != "llm"]
    assert headline(validation(cells=others)) == "No prefill was timed."
    single = [*others, next(cell for cell in validation().cells if cell.component == "llm")]
    assert headline(validation(cells=single)) == (
        "LLM prefill of 616 to 616 tokens: predicted times are 5.0 % off in the median and 5.0 % "
        "at worst over 1 cells; the plain roofline is 80 % off."
    )


def test_json_reloads_and_has_what_follows_from_the_samples(validation: Made) -> None:
    found = validation()
    text = render_validation(found, "json")
    data = json.loads(text)
    row = next(row for row in data["cells"] if row["tokens"] == 80 and row["component"] == "llm")

    assert text.encode() == found.to_json()
    assert msgspec.json.decode(text, type=Validation) == found
    assert row["samples_s"] == [12e-3, 10e-3, 11e-3]
    assert (row["measured_time_s"], row["median_time_s"]) == (10e-3, 11e-3)
    assert [row["error"], row["roofline_error"], row["noise"]] == pytest.approx([0.2, -0.8, 0.1])
    llm = data["accuracy"]["llm"]
    assert llm["predicted"]["cells"] == 3
    assert llm["predicted"]["median"] == pytest.approx(0.10)
    assert llm["predicted"]["worst"] == pytest.approx(0.20)
    assert llm["roofline"]["geometric_mean"] == pytest.approx(0.2)
    assert list(data["accuracy"]) == ["vision", "llm", "decode", "whole"]


def test_a_disturbed_run_says_so_first_and_in_the_file(validation: Made) -> None:
    calm = validation()
    noisy = replace(
        calm,
        cells=[
            replace(cell, samples_s=[cell.measured_time_s, *[8.5 * cell.measured_time_s] * 4])
            for cell in calm.cells
        ],
    )
    doubtful = replace(calm, calibration_untrusted="llm errs by 90 %")

    assert calm.untrusted == ""
    assert json.loads(calm.to_json())["untrusted"] == ""
    text = render_validation(noisy, "md").splitlines()
    assert text[2].startswith(f"untrusted: {len(noisy.cells)} of {len(noisy.cells)} cells")
    assert "750 % above the fastest" in text[2]
    assert json.loads(noisy.to_json())["untrusted"] == noisy.untrusted
    assert "untrusted: calibration: llm errs by 90 %" in render_validation(doubtful, "table")


def test_what_a_release_computes_beside_the_analysis_is_named(validation: Made) -> None:
    """No difference, and a column that is there only where something stands in it."""
    made = validation()
    aside = {"rotary table": 131_072.0}
    llm, *others = made.counts
    named = replace(llm, witnessed=llm.analytic + 131_072, aside=aside)

    text = render_validation(replace(made, counts=[named, *others]), "md")

    assert cells(text, "llm")[0] == [
        *("llm", "8,180,012,345,678", "131,072 rotary table", "8,180,012,476,750"),
        *("0", "FlopCounterMode"),
    ]
    assert cells(text, "vision")[0][2] == ""
    assert "Aside" in text
    assert "Aside" not in render_validation(made, "md")
