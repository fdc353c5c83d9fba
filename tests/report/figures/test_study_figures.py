"""A report's figures hold what the study says: artists' data, units, legends; all words fit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from made_up import bare, lawful, toy_laws
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure as Page
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.quiver import Quiver
from matplotlib.text import Text
from msgspec.structs import replace

import roofline
from roofline.record import Achieved, Record, Span
from roofline.report.figures import FIGURES, FORMATS, render
from roofline.report.figures.style import DOUBLE_IN, SHAPES, SINGLE_IN
from roofline.specs.attained import HostLaw
from roofline.study import COSTS, Measured, Study, study


def lines(page: Page | Axes, gid: str) -> list[Line2D]:
    return [line for line in page.findobj(Line2D) if line.get_gid() == gid]


def the_line(page: Page | Axes, gid: str) -> tuple[Any, Any]:
    (line,) = lines(page, gid)
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def bars(axes: Axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def legend(page: Page) -> list[str]:
    return [text.get_text() for found in page.legends for text in found.get_texts()]


def words(page: Page) -> list[Text]:
    """All texts that are seen; ticks beyond an axis's ends are not."""
    beyond = {
        tick.label1
        for axes in page.findobj(Axes)
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    texts = page.findobj(Text)
    return [t for t in texts if t.get_visible() and t.get_text().strip() and t not in beyond]


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
    page.draw_without_rendering()
    boxes = [(text, text.get_window_extent()) for text in words(page)]
    whole = page.bbox

    assert page.get_figwidth() == width_in
    assert page.get_figheight() < 13.0 * (DOUBLE_IN / width_in)
    for text, box in boxes:
        assert whole.x0 <= box.x0, text
        assert box.x1 <= whole.x1, text
        assert whole.y0 <= box.y0, text
        assert box.y1 <= whole.y1, text
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart, (one, other)


def test_of_two_hundred_prompts_a_figure_shows_some_and_says_so(
    studies: dict[str, Study],
) -> None:
    page = FIGURES["time"].draw(studies["two hundred prompts"])
    names = [label.get_text() for label in page.axes[0].get_yticklabels()]
    assert len(names) == 16
    assert (names[0], names[-1]) == ("576", "400 prumerge")
    assert page.get_suptitle() == "185 configurations between these not shown"


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


# Where the time goes


def parts(axes: Axes) -> list[tuple[int, float, float, str, bool]]:
    """Row, left, right, name and hatching of each rectangle."""
    return [
        (round(float(y.mean())), x.min(), x.max(), str(patch.get_gid()), bool(patch.get_hatch()))
        for patch in axes.patches
        if isinstance(patch, PathPatch)
        for x, y in (corners.T for corners in patch.get_path().to_polygons())
    ]


def test_bars_of_time_add_up_to_it_and_the_bound_is_hatched(attainable: Study) -> None:
    (axes,) = FIGURES["time"].draw(attainable).axes
    found = parts(axes)
    expected = []
    for one in attainable.configurations:
        whole = one.estimate.end_to_end
        expected += [(whole.time_s, True), (whole.attainable_time_s, False)]

    assert {row for row, *_ in found} == {0, 1, 2, 3}
    for row, (time_s, hatched) in enumerate(expected):
        mine = sorted(part[1:] for part in found if part[0] == row)
        assert mine[0][0] == 0
        assert mine[-1][1] == pytest.approx(time_s)
        assert all(a[1] == pytest.approx(b[0]) for a, b in pairwise(mine))
        assert {part[3] for part in mine} == {hatched}


def test_a_part_of_the_time_is_that_of_its_ops(one: Study) -> None:
    page = FIGURES["time"].draw(one)
    ops = one.configurations[0].estimate.ops
    chosen = ops[(ops.component == "llm") & (ops.kind == "linear")]
    (width,) = (
        right - left
        for row, left, right, name, _ in parts(page.axes[0])
        if (row, name) == (0, "bound llm linear")
    )

    assert width == pytest.approx(chosen.time_s.sum())
    assert {"vision", "reducer", "projector", "LLM", "roofline bound"} <= set(legend(page))
    assert "attainable, with its error" not in legend(page)
    assert page.axes[0].get_xlabel() == "prefill time, end to end"


def test_an_attainable_time_shows_what_it_may_be_off(attainable: Study) -> None:
    (axes,) = FIGURES["time"].draw(attainable).axes
    (bars,) = axes.containers
    ends = bars.lines[2][0].get_segments()

    assert len(ends) == len(attainable.configurations)
    for (left, right), one in zip(ends, attainable.configurations, strict=True):
        whole = one.estimate.end_to_end
        assert left[0] == pytest.approx(whole.attainable_time_low_s)
        assert right[0] == pytest.approx(whole.attainable_time_high_s)


def test_what_the_framework_takes_has_the_colour_of_its_swatch() -> None:
    slow = {stage: HostLaw(fixed_us=500.0, layer_us=200.0) for stage in ("vision", "llm")}
    laws = toy_laws("fp16", tile=64, vector_gb_per_s=100.0, host=slow)
    found = study(["llava-1.5-7b"], [lawful("xeon-8480", laws)], visual_tokens=[40])
    page = FIGURES["time"].draw(found)
    (part,) = (p for p in page.axes[0].patches if "framework" in str(p.get_gid()))
    patches = dict(zip(legend(page), page.legends[0].get_patches(), strict=True))

    assert to_rgba(part.get_facecolor()) == patches["framework"].get_facecolor()


# Over visual tokens


def test_curves_are_those_of_single_analyses(one: Study, attainable: Study) -> None:
    page = FIGURES["visual-tokens"].draw(one)
    tokens, times = the_line(page, "time v100 fp16")
    _, flops = the_line(page, "flops")
    _, memory = the_line(page, "peak memory")

    assert list(tokens) == list(range(1, 577))
    device = one.configurations[0].estimate.hardware
    for count in (1, 40, 576):
        whole = roofline.analyze("llava-1.5-7b", device, visual_tokens=count).end_to_end
        assert times[count - 1] == pytest.approx(whole.time_s)
        assert flops[count - 1] == pytest.approx(whole.flops)
        assert memory[count - 1] == pytest.approx(whole.peak_memory_bytes)
    page = FIGURES["visual-tokens"].draw(attainable)
    _, predicted = the_line(page, "time a100-80gb fp16")
    _, bound = the_line(page, "bound a100-80gb fp16")
    assert np.all(predicted > bound)
    assert "roofline bound" in legend(page)


def test_the_ridge_is_where_the_llm_turns_to_compute(one: Study) -> None:
    (x,), _ = the_line(FIGURES["visual-tokens"].draw(one), "ridge v100 fp16")
    device = one.configurations[0].estimate.hardware

    bounds = [
        str(roofline.analyze("llava-1.5-7b", device, visual_tokens=int(x) + more).bound)
        for more in (0, 1)
    ]
    assert bounds == ["memory", "compute"]


def test_fewer_tokens_no_longer_help_within_a_twentieth_of_the_least(one: Study) -> None:
    page = FIGURES["visual-tokens"].draw(one)
    (x,), (y,) = the_line(page, "floor v100 fp16")
    _, times = the_line(page, "time v100 fp16")

    assert y == times[int(x) - 1]
    assert y <= 1.05 * times[0] < times[int(x)]
    assert [line.get_xdata()[0] for line in lines(page.axes[0], "asked")] == [40, 576]
    assert page.axes[0].get_xlabel() == "visual tokens"


# Roofline


def test_dots_stand_where_their_ops_do_and_arrows_lead_to_them(attainable: Study) -> None:
    (axes,) = FIGURES["roofline"].draw(attainable).axes
    whole, reduced = attainable.configurations

    def place(estimate: Any, name: str) -> tuple[float, float]:
        (op,) = (o for o in estimate.op_table() if (o["component"], o["name"]) == ("llm", name))
        work = op["flops"] or op["vector_flops"]
        return work / op["memory_access_bytes"], work / op["attainable_time_s"]

    (after,) = (c for c in axes.collections if c.get_gid() == "after llm")
    (before,) = (c for c in axes.collections if c.get_gid() == "before llm")
    (arrows,) = (c for c in axes.collections if c.get_gid() == "arrows llm")
    assert isinstance(arrows, Quiver)
    starts, ends = before.get_offsets(), np.array([arrows.X + arrows.U, arrows.Y + arrows.V]).T
    for name in ("o_proj", "attention", "down_proj", "lm_head"):
        here, was = place(reduced.estimate, name), place(whole.estimate, name)
        assert np.isclose(after.get_offsets(), here, rtol=0.05).all(axis=1).any(), name
        if not np.allclose(here, was, rtol=0.05):
            hits = np.isclose(starts, was, rtol=0.05) & np.isclose(ends, here, rtol=0.05)
            assert hits.all(axis=1).any(), name


def test_dots_on_a_bound_lie_on_the_roof(one: Study) -> None:
    (axes,) = FIGURES["roofline"].draw(one).axes
    places = np.concatenate(
        [c.get_offsets() for c in axes.collections if str(c.get_gid()).startswith("after")]
    )
    x, y = places.T
    roof = np.minimum(900e9 * x, 112e12)  # of the V100's data sheet

    assert len(places) > 10
    assert np.allclose(y, roof, rtol=1e-6)


def test_areas_of_dots_share_out_the_time(attainable: Study) -> None:
    (axes,) = FIGURES["roofline"].draw(attainable).axes
    sizes = [
        size
        for collection in axes.collections
        if str(collection.get_gid()).startswith("after")
        for size in collection.get_sizes()
    ]
    shares = sum((size - min(sizes)) / 90 for size in sizes)

    assert shares == pytest.approx(1.0, abs=0.02)  # embeddings compute nothing: they have no dot


def test_roofs_are_the_devices(attainable: Study) -> None:
    page = FIGURES["roofline"].draw(attainable)
    (axes,) = page.axes
    x, y = the_line(axes, "DRAM roof")
    assert np.allclose(y / x, 2039e9)
    x, y = the_line(axes, "L2 roof")
    assert np.allclose(y / x, 5500e9)
    x, y = the_line(axes, "ceiling fp16 bf16")
    assert np.allclose(y, 312e12)
    assert x[0] == pytest.approx(312e12 / 2039e9)
    shown = {text.get_text() for text in axes.texts}
    assert {"fp16, bf16 312 T", "vector 19.5 T", "L2 5500 GB/s\nDRAM 2039 GB/s"} <= shown
    assert axes.get_xlabel() == "FLOP per byte of DRAM traffic"
    assert axes.get_ylabel() == "FLOP/s"
    assert "L2 cache" in legend(page)


def test_measured_ops_have_a_dot(recorded: Study) -> None:
    page = FIGURES["roofline"].draw(recorded)

    assert offsets(page.axes[0], "measured") == [[9e14 / 3e12, 9e14], [4e14 / 1e12, 4e14]]
    assert "measured" in legend(page)


def test_what_was_slow_is_within_the_axes(record: Callable[..., Record]) -> None:
    slow = Achieved("llm", "q_proj", "linear", 32, 64, 3e-4, 1e-4, 2e-4, 1e5, 1e8, 0.667)
    found = compared(record(ops=[slow]))
    (axes,) = FIGURES["roofline"].draw(found).axes
    (x, y), (left, right), (low, high) = (1e5 / 1e8, 1e5), axes.get_xlim(), axes.get_ylim()

    assert offsets(axes, "measured") == [[x, y]]
    assert left < x < right
    assert low < y < high


@pytest.mark.parametrize(("tokens", "crosses"), [(40, 2), (576, 2), (144, 0)])
def test_of_records_those_count_whose_prompt_has_dots(
    tokens: int, crosses: int, record: Callable[..., Record]
) -> None:
    found = compared(record(inputs={"visual_tokens": tokens}), visual_tokens=[40, 144])
    (axes,) = FIGURES["roofline"].draw(found).axes
    assert len(offsets(axes, "measured")) == crosses
    assert axes.get_title(loc="left") == "llava-1.5-7b, h200, fp16\n576 to 40 prumerge"


@pytest.mark.parametrize(
    ("device", "quant", "names"),
    [
        ("rtx-4090", "fp16", {"fp16, bf16 165 T", "tf32, vector 82.6 T"}),
        ("rtx-4090", "fp32", {"tf32, fp32, vector 82.6 T"}),
        ("xeon-8480", "fp32", {"fp32, vector 7.17 T"}),
    ],
)
def test_roofs_in_use_have_names(device: str, quant: str, names: set[str]) -> None:
    found = study(["llava-1.5-7b"], [bare(device)], [quant], visual_tokens=[40])
    page = FIGURES["roofline"].draw(found, SINGLE_IN)
    assert names <= {text.get_text() for text in page.axes[0].texts}


def compared(made: Record, **options: Any) -> Study:
    """A study with this record, of the device that it names."""
    records = [Measured("r.json", made)]
    given: dict[str, Any] = {"visual_tokens": [40], "records": records} | options
    return study(["llava-1.5-7b"], [bare("h200")], **given)


def offsets(axes: Axes, gid: str) -> list[list[float]]:
    found = [c.get_offsets().tolist() for c in axes.collections if c.get_gid() == gid]
    return [place for places in found for place in places]


# Memory


def test_bars_of_memory_add_up_and_stand_against_capacity(studies: dict[str, Study]) -> None:
    study = studies["six"]
    page = FIGURES["memory"].draw(study)
    (axes,) = page.axes
    rows: dict[int, float] = {}
    for bar in bars(axes):
        row = round(bar.get_y() + bar.get_height() / 2)
        rows[row] = rows.get(row, 0.0) + bar.get_width()

    assert len(rows) == 6  # two models, three prompts; all devices need the same
    whole = study.configurations[0].estimate.end_to_end
    assert rows[0] == pytest.approx(whole.peak_memory_bytes)
    capacities = [line.get_xdata()[0] for line in lines(axes, "capacity")]
    assert capacities == [16 * 2**30]
    label = axes.get_xlabel()
    assert label.startswith("peak memory of the prefill")
    assert all(name in label for name in ("l40s", "a100-80gb", "h200", "b200"))
    assert "v100, t4 17.2 GB" in {text.get_text() for text in axes.texts}


@pytest.mark.parametrize("width_in", [SINGLE_IN, DOUBLE_IN])
def test_words_stand_beside_the_lines_of_capacities(
    width_in: float, studies: dict[str, Study]
) -> None:
    page = FIGURES["memory"].draw(studies["six"], width_in)
    page.draw_without_rendering()
    (axes,) = page.axes
    (line,) = lines(axes, "capacity")
    hidden = line.get_window_extent().padded(-1)  # points where its name ends

    assert len(axes.texts) == 7  # of the capacity, and of six bars
    for text in axes.texts:
        assert not text.get_window_extent().overlaps(hidden), text


# Answers


def test_answers_take_what_an_analysis_of_the_generation_says(one: Study) -> None:
    page = FIGURES["answer"].draw(one)
    device = one.configurations[0].estimate.hardware
    found = {}
    for name, tokens, reducer in (("576", 576, None), ("40 prumerge", 40, "prumerge")):
        lengths, times = the_line(page, f"answer v100 {name}")
        assert lengths[0] == 1
        generation = roofline.analyze(
            "llava-1.5-7b",
            device,
            visual_tokens=tokens,
            reducer=reducer,
            stage="generate",
            output_tokens=256,
        )
        assert lengths[-1] == 256
        assert times[-1] == pytest.approx(generation.end_to_end.time_s)
        _, steps = the_line(page, f"step v100 {name}")
        mean_s = np.average(steps[1:], weights=np.diff(lengths))
        assert mean_s == pytest.approx((times[-1] - times[0]) / 255)
        found[name] = times
    _, gain = the_line(page, "gain v100 40 prumerge")
    assert gain == pytest.approx(found["576"] / found["40 prumerge"])
    assert [axes.get_xlabel() for axes in page.axes] == ["output tokens"] * 3


def test_times_of_steps_grow_evenly_up_to_the_last(one: Study) -> None:
    middles, steps = the_line(FIGURES["answer"].draw(one), "step v100 576")
    growth = np.diff(steps) / np.diff(middles)  # of a cache that is read whole: affine

    assert (middles[0], middles[-1]) == (1, 256)
    assert np.allclose(growth, growth.mean(), rtol=1e-3)


def test_steps_that_hardly_differ_look_so(one: Study) -> None:
    axes = FIGURES["answer"].draw(one).axes[0]
    low, high = axes.get_ylim()
    _, steps = the_line(axes, "step v100 576")

    assert max(steps) / min(steps) < 1.1
    assert high / low >= 2.999


@pytest.mark.parametrize(("length", "applies"), [(1, False), (2, True)])
def test_an_answer_of_one_word_is_no_line(length: int, applies: bool) -> None:
    found = study(["llava-1.5-7b"], [bare("h200")], visual_tokens=[40], output_tokens=length)
    assert FIGURES["answer"].applies(found) is applies


# Many devices


@pytest.mark.parametrize(("name", "kind"), [("visual-tokens", "floor"), ("answer", "step")])
def test_seven_devices_differ_by_colour_and_by_shape(
    name: str, kind: str, studies: dict[str, Study]
) -> None:
    found = studies["nine"]
    page = FIGURES[name].draw(found)
    shown = {line.get_label(): line for line in page.legends[0].get_lines()}
    devices = [device for device in found.hardware if device in shown]

    assert devices == list(found.hardware[:7])
    assert len({to_rgba(shown[device].get_color()) for device in devices}) == 7
    assert [shown[device].get_marker() for device in devices] == list(SHAPES[:7])
    assert page.get_suptitle() == "2 more devices not shown"
    drawn = {
        str(line.get_gid()).split()[1]: (line.get_marker(), line.get_color())
        for line in page.axes[0].lines
        if str(line.get_gid()).startswith(kind)
    }
    assert drawn == {d: (shown[d].get_marker(), shown[d].get_color()) for d in devices}


def test_places_where_fewer_stop_paying_are_explained_where_there_are_any(one: Study) -> None:
    page = FIGURES["visual-tokens"].draw(one)
    (ridge,), (floor,) = lines(page, "ridge v100 fp16"), lines(page, "floor v100 fp16")
    assert ridge.get_markerfacecolor() == "white"
    assert floor.get_markerfacecolor() == floor.get_color()
    assert ridge.get_marker() == floor.get_marker()
    bound = "LLM bound by memory up to here"
    assert bound in legend(page)
    crowd = study(["llava-1.5-7b"], [bare("v100")], visual_tokens=[40], batch=64)
    page = FIGURES["visual-tokens"].draw(crowd)
    assert not lines(page, "ridge v100 fp16")
    assert bound not in legend(page)
    assert "within 5 % of the least: fewer no longer help" in legend(page)


# Predicted against measured


def test_spans_of_records_stand_over_what_was_measured(recorded: Study) -> None:
    page = FIGURES["prediction"].draw(recorded)
    x, y = the_line(page, "predicted llm")

    assert x == pytest.approx([4e-3])  # the median
    assert list(y) == [4.1e-3]
    _, error = the_line(page, "error whole")
    assert error == pytest.approx([100 * (5.85 / 6.1 - 1)])
    assert "r.json: -4.1 %" in FIGURES["prediction"].alt(recorded)
    assert "roofline bound" in legend(page)


@pytest.mark.parametrize(("stage", "length", "steps"), [("generate", 64, 64), ("decode", 64, 1)])
def test_decode_steps_that_a_run_took_together_count_one_by_one(
    stage: str, length: int, steps: int, record: Callable[..., Record]
) -> None:
    made = record(inputs={"stage": stage, "output_tokens": length})
    run = Span(samples_s=[0.4, 0.3, 0.8], roofline_time_s=0.2, attainable_time_s=0.32)
    found = compared(replace(made, spans=made.spans | {"decode": run}))
    page = FIGURES["prediction"].draw(found)

    assert the_line(page, "predicted decode")[0] == pytest.approx([0.4 / steps])
    assert the_line(page, "predicted decode")[1] == pytest.approx([0.32 / steps])
    assert the_line(page, "roofline decode")[1] == pytest.approx([0.2 / steps])


def test_a_bound_is_no_prediction(record: Callable[..., Record]) -> None:
    made = record()
    spans = {name: replace(span, attainable_time_s=None) for name, span in made.spans.items()}
    assert FIGURES["prediction"].applies(compared(made))
    assert not FIGURES["prediction"].applies(compared(replace(made, spans=spans)))


# Accuracy against cost


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        ("accuracy-time", "prefill_time_s"),
        ("accuracy-energy", "energy_at_tdp_j"),
        ("accuracy-memory", "peak_memory_bytes"),
    ],
)
def test_fronts_and_choices_survive_a_search_through_all_pairs(
    name: str, cost: str, priced: Study
) -> None:
    page = FIGURES[name].draw(priced)

    assert [axes.get_title(loc="left") for axes in page.axes] == [f.name for f in priced.fronts]
    for axes, front in zip(page.axes, priced.fronts, strict=True):
        points = [(c.cost(cost), c.score.value) for c in front.candidates]
        drawn = [
            (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
            for line in axes.lines
            if line.get_gid() not in {"front", "choice"}
        ]
        assert drawn == points
        beaten = {
            p for p in points if any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in points)
        }
        assert set(zip(*the_line(axes, "front"), strict=True)) == set(points) - beaten
        assert lines(axes, "front")[0].get_drawstyle() == "steps-post"
        best = max(score for _, score in points)
        near = [p for p in points if p[1] >= best - front.benchmark.full_marks / 100 - 1e-9]
        (x,), _ = the_line(axes, "choice")
        assert x == min(cost for cost, _ in near)
    assert page.axes[-1].get_xlabel().lower() == COSTS[cost].title.lower()
    assert "cheapest within 1 point of the best" in legend(page)


def test_what_does_not_fit_is_faint(studies: dict[str, Study]) -> None:
    found = studies["crowded"]
    page = FIGURES["accuracy-time"].draw(found)
    large = [line for line in page.axes[0].lines if str(line.get_gid()).endswith("13b")]
    small = [line for line in page.axes[0].lines if str(line.get_gid()).endswith("7b")]

    assert large
    assert {line.get_alpha() for line in large} == {0.3}
    assert {line.get_alpha() for line in small} == {None}
    assert "does not fit" in legend(page)
    assert "does not fit" not in legend(FIGURES["accuracy-time"].draw(studies["accuracy"]))


def test_accuracies_on_other_devices_are_in_the_tables(studies: dict[str, Study]) -> None:
    assert FIGURES["accuracy-time"].draw(studies["accuracy"]).get_suptitle() == "h200, fp16"
    page = FIGURES["accuracy-time"].draw(studies["crowded"])
    assert page.get_suptitle() == "rtx-4090, fp16; 1 more in the tables"


def test_energy_is_time_at_the_devices_power(priced: Study) -> None:
    times, energies = (
        [c.cost(cost) for f in priced.fronts for c in f.candidates]
        for cost in ("prefill_time_s", "energy_at_tdp_j")
    )

    assert np.allclose(np.divide(energies, times), 700.0)  # W, of the H200's data sheet


def test_times_on_a_device_without_the_memory_are_dotted() -> None:
    found = study(["llava-1.5-13b"], [bare("v100"), bare("h200")])
    page = FIGURES["visual-tokens"].draw(found)
    _, dotted = the_line(page, "too large v100 fp16")
    _, solid = the_line(page, "time h200 fp16")
    assert not np.isnan(dotted).any()
    assert not np.isnan(solid).any()
    assert "does not fit" in legend(page)
    assert "does not fit" not in legend(
        FIGURES["visual-tokens"].draw(study(["vicuna-7b"], ["h200"]))
    )


def test_alt_texts_speak_of_what_is_there() -> None:
    tower = FIGURES["roofline"].alt(study(["clip-vit-l-336"], [bare("h200")]))
    assert "arrows" not in tower
    several = study(["llama-2-7b"], [bare("v100")], ["int4"], visual_tokens=[576, 144, 40])
    assert FIGURES["roofline"].draw(several).get_suptitle() == "2 more prompts not shown"
    assert "bound by compute throughout" in FIGURES["visual-tokens"].alt(several)
