"""A study's report: the answer in sentences first, every figure and number where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from made_up import bare, lawful, toy_laws
from matplotlib.figure import Figure as Page
from msgspec.structs import replace

import roofline
from roofline.device.laws.host import HostLaw
from roofline.explore.study import MeasuredRun, Study, study
from roofline.records.measurement import Record
from roofline.registry import Registry
from roofline.report.charts import Chart, ReportChart, ReportSection, report_charts
from roofline.report.document import Bullets, Document, Heading, Paragraph, Picture, Table
from roofline.report.plots import drawing, draws
from roofline.report.study_report import drawn_files, render_study, to_document
from roofline.report.text import study_tables as tables
from roofline.report.text.study_answers import MOST_BRIEF, answer, in_full, ratio, times
from roofline.specs.catalog import all_hardware, load_hardware, load_model
from roofline.units import si, significant

COMMAND = "roofline report --model llava-1.5-7b --hw h200"
VERSION = "1.2.3"


def one(**options: Any) -> Study:
    return study(model=["llava-1.5-7b"], hardware=[bare("h200")], **options)


@pytest.fixture(scope="module")
def grid() -> Study:
    return study(
        model=["llava-1.5-7b"],
        hardware=[bare("v100"), bare("h200")],
        quant=["fp16", "int4"],
        visual_tokens=[40],
    )


@pytest.fixture(scope="module")
def accurate() -> Study:
    return study(
        model=["llava-1.5-7b"], hardware=[bare("h200")], quant=["fp16"], with_accuracy=True
    )


def text_of(document: Document) -> str:
    return "\n".join(map(repr, document.blocks))


def headings(document: Document, level: int = 2) -> list[str]:
    return [b.text for b in document.blocks if isinstance(b, Heading) and b.level == level]


def column(table: Table, header: str) -> list[str]:
    index = table.headers.index(header)
    return [row[index] for row in table.rows]


def test_the_answer_says_what_it_costs_what_bounds_it_and_what_is_saved() -> None:
    found = one()
    text = in_full(found.deployments[0])
    full = roofline.analyze("llava-1.5-7b", bare("h200")).end_to_end
    kept = roofline.analyze(
        "llava-1.5-7b", bare("h200"), visual_tokens=40, reducer="prumerge"
    ).end_to_end
    speedup = significant(full.predicted_time_s / kept.predicted_time_s, 2)

    assert (
        f"Prefill of 576 visual and 40 text tokens takes at least {si(full.predicted_time_s, 's')}"
        in text
    )
    assert "end to end, bound by compute." in text
    reduced = f"at least {si(kept.predicted_time_s, 's')}, {speedup} times as fast"
    assert f"With prumerge at 40 visual tokens it takes {reduced}" in text
    assert "bound by memory up to" in text
    assert f"fewer stop paying at {found.deployments[0].floor_tokens}" in text
    assert "With an answer of 128 tokens, prumerge at 40 visual tokens takes at least" in text
    assert f"{si(kept.peak_memory_bytes, 'B')} of 151 GB" in text  # 141 GiB


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ({"visual_tokens": [40], "reducer": ["none"]}, "With 40 visual tokens it takes"),
        ({"visual_tokens": [200]}, "fewer stop paying"),
        ({"visual_tokens": [144, 40]}, "bound by memory; with prumerge at 144 visual tokens "),
        (
            {"reducer": ["prumerge", "tome", "fastv", "spatial"]},
            "Of 4 ways to have fewer, spatial at 40",
        ),
        ({"batch": 4}, "text tokens in a batch of 4"),
    ],
)
def test_sentences_fit_what_was_asked(axes: dict[str, Any], expected: str) -> None:
    assert expected in in_full(one(**axes).deployments[0])


def test_tokens_below_the_floor_are_named() -> None:
    found = one(visual_tokens=[300, 40, 16]).deployments[0]

    assert f"so that 40 are hardly faster than {found.floor_tokens}" in in_full(found)
    assert "hardly faster" not in in_full(one(visual_tokens=[300]).deployments[0])


def test_a_model_that_does_not_fit_is_told_so() -> None:
    large = study(model=["llava-1.5-13b"], hardware=[bare("v100")])

    assert "It does not fit: it needs 26." in in_full(large.deployments[0])
    both = study(model=["llava-1.5-13b"], hardware=[bare("v100"), bare("h200")])
    assert "2 of them do not fit" in str(answer(both)[0])
    assert "do not fit" not in str(
        answer(study(model=["llava-1.5-7b"], hardware=[bare("v100"), bare("h200")]))
    )


def test_of_many_settings_each_has_a_line() -> None:
    devices = [bare(name) for name in ("v100", "h200", "t4", "b200")]
    found = study(model=["llava-1.5-7b", "llava-1.5-13b"], hardware=devices, visual_tokens=[40])
    first, last = found.deployments[0], found.deployments[4]
    _, bullets = answer(found)
    assert isinstance(bullets, Bullets)
    lines = dict(bullets.items)

    whole_s, kept_s = (si(c.predicted_time_s, "s") for c in first.prompts)
    speedup = significant(first.prompts[0].predicted_time_s / first.prompts[1].predicted_time_s, 2)
    assert lines["llava-1.5-7b on v100, fp16."] == (
        f"at least {whole_s} (compute), with prumerge at 40 visual tokens at least {kept_s} "
        f"(memory): {speedup} times as fast; fewer stop paying at {first.floor_tokens}."
    )
    assert last.hardware == "v100"
    assert lines["llava-1.5-13b on v100, fp16."].endswith(
        " Needs 26.8 GB of 17.2 GB. Without reduction it does not fit."
    )
    assert len(lines) == 8


def test_of_very_many_settings_the_tables_tell() -> None:
    devices = [bare(d.name) for d in all_hardware() if d.matmul_peak("fp16")]
    found = study(model=["vicuna-7b"], hardware=devices, quant=["fp16", "int8"])
    assert len(found.deployments) > MOST_BRIEF
    (paragraph,) = answer(found)
    assert "prompts: prefill takes from" in str(paragraph)


@pytest.mark.parametrize(
    ("model", "start"),
    [
        ("llama-3-8b", "Prefill of 40 text tokens takes"),
        ("clip-vit-l-336", "Encoding an image of 577 tokens takes"),
        ("vicuna-7b", "Prefill of 576 visual and 40 text tokens takes"),
    ],
)
def test_models_without_reduction_have_an_answer_too(model: str, start: str) -> None:
    text = in_full(study(model=[model], hardware=[bare("h200")]).deployments[0])

    assert text.startswith(start)
    assert "times as fast" not in text
    assert "None" not in text


def test_prompts_of_two_images_are_compared_with_two_images() -> None:
    both = in_full(one(visual_tokens=[1152]).deployments[0])
    assert both.startswith("Prefill of 1152 visual and 40 text tokens takes")
    assert "576" not in both

    mixed = in_full(one(visual_tokens=[700, 40]).deployments[0])
    first, second = mixed.index("Prefill of 576 visual"), mixed.index("Prefill of 1152 visual")
    assert first < mixed.index("With prumerge at 40 visual tokens it takes") < second
    assert second < mixed.index("With 700 visual tokens it takes")


def test_what_fits_only_with_fewer_tokens_is_said() -> None:
    """On 16 GiB, 13.5 GB of them weights: KV cache is 0.5 MB a token of each sequence."""
    found = study(model=["llava-1.5-7b"], hardware=[bare("v100")], batch=16, output_tokens=2000)
    whole, kept = found.prompts
    text = in_full(found.deployments[0])
    written = kept.answer()
    assert written is not None
    assert (whole.fits, kept.fits, written.fits) == (False, True, False)
    assert "needs 15.0 GB of 17.2 GB; 58 such prompts fit at once, 8 without reduction." in text
    assert "With all visual tokens it does not fit: 20.0 GB." in text
    assert "With the answer it does not fit: 31.7 GB." in text
    (table,) = tables.answers(found)
    assert column(table, "Fits") == ["no", "no"]
    grid = study(
        model=["llava-1.5-7b", "llava-1.5-13b"],
        hardware=[bare(n) for n in ("v100", "h200", "b200", "l40s")],
        batch=16,
    )
    assert "Without reduction it does not fit." in str(answer(grid))


def test_of_many_unreduced_prompts_the_slowest_and_the_quickest_are_told() -> None:
    found = study(model=["llama-2-7b"], hardware=[bare("v100")], visual_tokens=[288, 576, 144, 40])
    text = in_full(found.deployments[0])
    assert "Prefill of 576 visual" in text
    assert "Prefill of 40 visual" in text
    assert "Prefill of 288 visual" not in text
    assert "With an answer of 128 tokens, the prompt of 40 visual tokens takes" in text


def test_the_host_is_named_where_it_is_what_takes_long() -> None:
    slow = toy_laws(
        "fp16",
        tile=64,
        vector_gb_per_s=2000.0,
        host={name: HostLaw(fixed_us=5e4, layer_us=0.0) for name in ("vision", "reducer", "llm")},
    )
    device = lawful("h200", slow)
    text = in_full(
        study(model=["llava-1.5-7b"], hardware=[device], visual_tokens=[40]).deployments[0]
    )
    assert "Eager PyTorch takes 150 ms to issue the kernels of prumerge at 40 visual tokens" in text
    assert "measured on this machine" in text  # where the laws are from
    assert "Eager PyTorch" not in in_full(one().deployments[0])


def test_what_a_device_lacks_is_said_in_the_answer() -> None:
    found = study(model=["llava-1.5-7b"], hardware=[bare("v100"), bare("h200")], quant=["fp8"])
    assert "v100 has no fp8 peak" in str(answer(found))
    document = to_document(found, COMMAND, VERSION, {})
    assert document.title == "llava-1.5-7b on h200: fp8"


def test_a_bound_beside_attainable_times_is_marked() -> None:
    lawless, device = bare("v100"), lawful("h200", toy_laws("fp16", tile=64, vector_gb_per_s=2e3))
    found = study(model=["llava-1.5-7b"], hardware=[lawless, device], visual_tokens=[40])
    (table,) = tables.parts(found)
    assert table.caption.startswith("Attainable time of each component")
    assert "≥ marks bounds" in table.caption
    assert [cell.startswith("≥ ") for cell in column(table, "LLM")] == [True, True, False, False]
    assert "at least" in str(answer(found)[0])


def test_scores_of_quantized_models_are_nobodys() -> None:
    def accuracy_text(quant: str) -> str:
        found = study(
            model=["llava-1.5-7b"], hardware=[bare("h200")], quant=[quant], with_accuracy=True
        )
        return text_of(to_document(found, COMMAND, VERSION, {}))

    assert "what they become in int4 nobody published" in accuracy_text("int4")
    assert "nobody published" not in accuracy_text("fp16")


def test_places_that_choose_alike_share_a_table() -> None:
    found = study(model=["llava-1.5-7b"], hardware=[bare("h200"), bare("b200")], with_accuracy=True)
    document = to_document(found, COMMAND, VERSION, {})
    assert "h200, fp16; b200, fp16" in headings(document, level=3)


def test_a_prompt_without_visual_tokens_has_a_name() -> None:
    (span, _) = answer(study(model=["llama-3-8b"], hardware=[bare("h200"), bare("v100")]))
    assert "text alone" in str(span)
    assert "0 visual tokens" not in str(span)


@pytest.mark.parametrize(
    ("speedup", "shown", "expected"),
    [
        (12.64, "12.6", "12.6 times as fast"),
        (4.14, "4.1", "4.1 times as fast"),
        (1.036, "1.04", "1.04 times as fast"),
        (1.0004, "1.00", "no faster"),
        (0.97, "0.97", "no faster"),
    ],
)
def test_ratios_have_the_digits_that_matter(speedup: float, shown: str, expected: str) -> None:
    assert ratio(speedup) == shown
    assert times(speedup) == expected


def test_several_settings_are_told_of_together_and_each(grid: Study) -> None:
    few = answer(grid)

    assert isinstance(few[0], Paragraph)
    assert few[0].text.startswith("8 prompts: prefill takes from ")
    assert isinstance(few[1], Bullets)
    assert [label for label, _ in few[1].items] == [
        "llava-1.5-7b on v100, fp16.",
        "llava-1.5-7b on v100, int4.",
        "llava-1.5-7b on h200, fp16.",
        "llava-1.5-7b on h200, int4.",
    ]


def test_tables_leave_out_what_is_the_same_everywhere(grid: Study) -> None:
    (costs,) = tables.costs(grid)
    (alone,) = tables.costs(one())

    assert costs.headers[:4] == ("Device", "Quant", "Visual", "Reducer")
    assert alone.headers[:2] == ("Visual", "Reducer")
    assert column(costs, "Reducer") == ["-", "prumerge"] * 4
    assert column(costs, "Faster")[::2] == ["-"] * 4
    assert "Expected" not in costs.headers


def test_tables_hold_the_analysis(grid: Study) -> None:
    for row, prompt in enumerate(grid.prompts):
        whole = prompt.estimate.end_to_end
        assert column(tables.costs(grid)[0], "Roofline")[row] == si(whole.roofline_time_s, "s")
        assert column(tables.memory(grid)[0], "Peak")[row] == si(whole.peak_memory_bytes, "B")
    limits = tables.limits(grid)[0]
    assert column(limits, "Memory-bound up to") == [str(s.ridge_tokens) for s in grid.deployments]
    assert column(limits, "Matmul peak")[1] == "62.0 TOP/s int8"  # the V100 has no int4


def test_components_add_up_to_the_whole(grid: Study) -> None:
    (parts,) = tables.parts(grid)

    for row in parts.rows:
        shares = [float(cell.split(", ")[1].removesuffix(" %")) for cell in row if " %" in cell]
        assert sum(shares) == pytest.approx(100, abs=1)


def test_an_answer_of_the_length_asked_for(grid: Study) -> None:
    (answers,) = tables.answers(grid)

    assert answers.caption.startswith("An answer of 128 tokens.")
    longest_s = grid.prompts[0].generation_time_s[-1]
    assert column(answers, "Prompt and answer")[0] == f"≥ {si(longest_s, 's')}"  # of bare devices
    assert tables.answers(study(model=["clip-vit-l-336"], hardware=["h200"])) == ()


def test_records_stand_beside_what_was_predicted(record: Callable[..., Record]) -> None:
    made = record(warnings=["the clock was held down"])
    found = one(records=[MeasuredRun("run-1", made)])
    (table,) = tables.measurements(found.records)
    document = to_document(found, COMMAND, VERSION, {})

    assert column(table, "Span") == ["vision", "reducer", "llm", "whole"]
    assert column(table, "Median")[-1] == "6.10 ms"
    assert column(table, "Of roof")[-1] == "56 %"  # 3.4 / 6.1
    assert column(table, "Error")[-1] == "-4.1 %"  # 5.85 / 6.1 - 1
    assert "Measured" in headings(document)
    assert "the clock was held down" in text_of(document)
    assert made.created not in text_of(document)
    bullets = answer(found)[0]
    assert isinstance(bullets, Bullets)
    label, text = bullets.items[-1]
    assert label == "Measured, run-1."
    assert text.endswith("on NVIDIA H200: 6.10 ms, 56 % of the roof; predicted -4.1 %.")


def test_accuracy_has_its_choice_its_scores_and_its_gaps(accurate: Study) -> None:
    document = to_document(accurate, COMMAND, VERSION, {})
    found = [b for b in document.blocks if isinstance(b, Table)]
    choices = next(t for t in found if "within one point" in t.caption)
    on_video = next(t for t in found if t.caption.startswith("VQAv2"))
    left = next(t for t in found if "not priced" in t.caption)

    # 78.5 is the best: 77.5 and more are within a point of it, which of table 7 only 77.6 is
    assert dict(zip(choices.headers, choices.rows[0], strict=True)) == {
        "Benchmark": "VQAv2, accuracy (%)",
        "Best": "78.5, LLaVA-1.5 at 576 tokens, Vicuna-7B",
        "By time": "77.6, PruMerge+ at 288 tokens, Vicuna-7B",
        "By KV cache": "77.6, PruMerge+ at 288 tokens, Vicuna-7B",
    }
    assert column(on_video, "Score")[-1] == "78.5"  # all tokens take longest
    assert column(on_video, "Method")[0] == "PruMerge"
    assert "BLIP-2" in column(left, "Method")
    assert "VQAv2 PruMerge+ at 288 tokens, Vicuna-7B (77.6, best 78.5)" in str(answer(accurate))


def test_the_report_ends_with_all_that_it_rests_on(accurate: Study) -> None:
    document = to_document(accurate, COMMAND, VERSION, {})
    text = text_of(document)

    assert headings(document) == [
        "Answer",
        "What it costs",
        "What bounds it",
        "Memory",
        "Answers",
        "Accuracy against cost",
        "Inputs, sources and versions",
    ]
    assert COMMAND in text
    assert VERSION in text
    assert all(digest in text for digest in accurate.specs.values())
    assert all(source in text for source in load_hardware("h200").sources.values())
    assert "arXiv:2403.15388" in text


def test_models_and_reducers_have_their_sources() -> None:
    """Who says how large a model is, how many tokens a reducer leaves, and what it costs itself."""
    found = study(model=["llava-1.5-7b"], hardware=["h200"], reducer=["fastv:k=3", "tome", "none"])
    blocks = to_document(found, COMMAND, VERSION, {}).blocks
    lines = [" ".join(item) for b in blocks if isinstance(b, Bullets) for item in b.items]

    for name in ("llava-1.5-7b", "clip-vit-l-336", "llava-connector", "vicuna-7b"):
        spec = load_model(name)
        assert f"{name} ({spec.title}). {spec.source}" in lines
    paper = "Chen et al. 2024, An Image is Worth 1/2 Tokens After Layer 2 (FastV), arXiv:2403.06764"
    assert f"fastv:k=3. {paper}; default count: half; own work: stated by its file" in lines
    assert (
        "tome. Bolya et al. 2023, Token Merging: Your ViT But Faster, arXiv:2210.09461; default "
        "count: Shang et al. 2025, LLaVA-PruMerge, arXiv:2403.15388, table 7; own work: stated by "
        "its file"
    ) in lines
    alone = study(model=["llama-3-8b"], hardware=["h200"])
    assert "Sources of the reducers" not in text_of(to_document(alone, COMMAND, VERSION, {}))


def test_what_was_left_out_is_said() -> None:
    found = study(model=["llava-1.5-7b"], hardware=["v100", "h200"], quant=["fp8"])

    assert "v100 has no fp8 peak" in text_of(to_document(found, COMMAND, VERSION, {}))


@pytest.fixture
def a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drawing of no study, for where it ends up."""
    monkeypatch.setattr(drawing, "DRAWINGS", Registry("drawing"))

    @draws("a line")
    def draw(chart: Chart, width_in: float) -> Page:
        page = Page(figsize=(width_in, 1))
        page.add_subplot().plot([1, 2])
        return page


def of_a_line(found: Study) -> Chart:
    return Chart(name="a line", title="A line", alt=f"{len(found.deployments)} deployments")


def test_figures_stand_in_their_sections() -> None:
    pictures = {
        ReportSection.MEMORY: [Picture("memory", "M", "m")],
        ReportSection.MORE: [Picture("another", "A", "a"), Picture("third", "T", "t")],
    }
    blocks = list(to_document(one(), COMMAND, VERSION, pictures).blocks)

    for section, some in pictures.items():
        indices = [blocks.index(picture) for picture in some]
        before = [b.text for b in blocks[: indices[0]] if isinstance(b, Heading)]
        assert before[-1] == section.value
        assert indices == list(range(indices[0], indices[0] + len(some)))


def test_every_section_of_a_report_is_under_its_title(
    accurate: Study, record: Callable[..., Record]
) -> None:
    found = replace(accurate, records=(MeasuredRun("run-1", record()),))
    pictures = {section: [Picture(section.name, "P", "p")] for section in ReportSection}
    document = to_document(found, COMMAND, VERSION, pictures)
    assert headings(document) == [section.value for section in ReportSection]


def test_a_section_without_content_has_no_title() -> None:
    assert "More figures" not in headings(to_document(one(), COMMAND, VERSION, {}))
    assert "Measured" not in headings(to_document(one(), COMMAND, VERSION, {}))


@pytest.mark.usefixtures("a_line")
def test_a_folder_holds_both_reports_and_every_chart_that_applies() -> None:
    charts = {
        name: ReportChart(
            name=name,
            title="A line",
            section=ReportSection.MEMORY,
            applies=lambda found, wanted=wanted: wanted,
            of=of_a_line,
        )
        for name, wanted in (("memory", True), ("generation", False))
    }
    files = render_study(one(), COMMAND, VERSION, charts)

    assert list(files) == ["report.md", "report.html", "memory.png", "memory.svg"]
    text = files["report.md"].decode()
    assert "![1 deployments](memory.png)\n\n*A line*" in text
    assert text.index("## Memory") < text.index("memory.png") < text.index("## Answers")
    assert b"data:image/svg+xml;base64," in files["report.html"]
    assert files["memory.png"].startswith(b"\x89PNG")
    assert files == render_study(one(), COMMAND, VERSION, charts)


def test_files_of_figures_are_those_of_all_charts() -> None:
    names = {f"{name}.{form}" for name in report_charts() for form in ("png", "svg")}
    assert drawn_files() == names
    assert {"time.png", "accuracy-kv-cache.svg"} <= names


@pytest.mark.parametrize("width_in", [3.4, 7.0])
def test_pictures_are_as_wide_as_asked_for(width_in: float) -> None:
    charts = {"time": report_charts()["time"]}
    files = render_study(
        study(model=["clip-vit-l-336"], hardware=[bare("t4")]), "", "", charts, width_in
    )
    assert f'width="{width_in * 72:g}pt"'.encode() in files["time.svg"]
    assert charts["time"].title in files["report.md"].decode()
