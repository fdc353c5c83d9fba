"""Many configurations at once are as many single analyses, bit for bit."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from made_up import LAWS, device
from msgspec.structs import replace
from toy import STAGES, all_cells, figures, lmm, parts, toy

from roofline import analyze, sweep
from roofline.engine import count, price
from roofline.engine.estimate import Estimate
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware

AXES: dict[str, dict[str, Any]] = {
    "0-d": {"visual_tokens": 576, "output_tokens": 9},
    "1-d": {"visual_tokens": [1, 9, 10, 40, 576, 577, 2880]},
    "2-d": {"visual_tokens": [[1, 40], [576, 2880]], "batch": [1, 7]},
    "outputs": {"visual_tokens": 40, "output_tokens": [0, 1, 2, 7, 8, 9, 17, 100, 129, 300]},
    "4-d": {
        "visual_tokens": [[[[1]]], [[[576]]]],
        "text_tokens": [[[1]], [[99]]],
        "batch": [[1], [32]],
        "output_tokens": [0, 11, 33],
    },
    "none of one kind": {"visual_tokens": [[0], [40]], "text_tokens": [3, 1]},
}


def lawful() -> Hardware:
    a100 = load_hardware("a100")
    return replace(a100, kernel_laws=LAWS, sources=a100.sources | {"test": "made up"})


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("quant", ["fp16", "w4a16", "int8"])
def test_a_cell_of_an_array_is_the_single_analysis_bit_for_bit(
    axes: dict[str, Any], stage: str, quant: str
) -> None:
    given = {"output_tokens": 2} | axes if stage == "generate" else axes
    many = analyze("llava-1.5-7b", lawful(), quant=quant, stage=stage, **given)

    for index, single in all_cells(given):
        one = analyze("llava-1.5-7b", lawful(), quant=quant, stage=stage, **single)
        for part, totals in parts(one).items():
            for name, value in figures(totals).items():
                found = np.asarray(figures(parts(many)[part])[name])[index]
                assert found == value, (part, name, single)


@pytest.mark.parametrize("attention", ["flash", "eager"])
def test_generate_bit_for_bit_where_steps_cross_from_one_bound_to_the_other(
    attention: str,
) -> None:
    # on this device attention turns from memory- to compute-bound as the context grows
    outputs = [*range(40), 63, 64, 65, 127, 128, 129, 200, 257, 1000]
    many = toy(stage="generate", output_tokens=outputs, batch=[[1], [5]], attention=attention)
    found = figures(many.llm)

    for i, batch in enumerate((1, 5)):
        for j, steps in enumerate(outputs):
            one = toy(stage="generate", output_tokens=steps, batch=batch, attention=attention)
            for name, value in figures(one.llm).items():
                assert found[name][i, j] == value, (name, batch, steps)


@pytest.mark.parametrize("chunk", [1, 3, 7, 64])
@pytest.mark.parametrize("stage", STAGES)
def test_chunks_do_not_show(chunk: int, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def grid() -> Estimate:
        return sweep(
            lmm(),
            device(),
            visual_tokens=range(1, 30, 4),
            text_tokens=[3, 40],
            batch=[1, 2, 3],
            output_tokens=[0, 1, 5],
            stage=stage,
        )

    whole = grid()
    monkeypatch.setattr(price, "CHUNK", chunk)
    monkeypatch.setattr(count, "CHUNK", chunk)
    pieces = grid()

    for part, totals in parts(whole).items():
        found = figures(parts(pieces)[part])
        for name, value in figures(totals).items():
            assert np.array_equal(found[name], value), name


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 3), (0,), (0, 2)])
def test_figures_have_the_shape_of_the_scenario(shape: tuple[int, ...]) -> None:
    estimate = toy(lmm(), visual_tokens=np.full(shape, 2.0), runtime="eager")

    assert estimate.shape == shape
    for totals in parts(estimate).values():
        shown = {name: getattr(totals, name) for name in totals.shown}
        known = {name: np.shape(value) for name, value in shown.items() if value is not None}
        assert known == dict.fromkeys(known, shape)
        unknown = {"energy_j", "energy_error_j", "power_w", "energy_bound_j"}
        assert shown.keys() - known.keys() == unknown  # the device has no law of energy, nor a TDP


@pytest.mark.parametrize("reducer", [None, "prumerge"])
def test_no_configuration_at_all(reducer: str | None) -> None:
    none = analyze("llava-1.5-7b", "v100", visual_tokens=[], reducer=reducer)

    assert none.end_to_end.flops.shape == none.llm.roofline_time_s.shape == (0,)
    assert none.to_dict()["end_to_end"]["flops"] == []


def test_non_contiguous_axes() -> None:
    visual = np.arange(24.0).reshape(4, 6).T[::2] + 1
    whole = toy(visual_tokens=visual).llm

    for index in np.ndindex(visual.shape):
        one = toy(visual_tokens=visual[index]).llm
        assert whole.roofline_time_s[index] == one.roofline_time_s


REDUCED = {
    # before the LLM, inside the tower, inside the LLM
    "prumerge": [40, 144, 576],
    "tome": [144, 576],
    "fastv:k=3": [1, 288, 576],
}


@pytest.mark.parametrize(("reducer", "counts"), REDUCED.items(), ids=REDUCED)
@pytest.mark.parametrize("stage", ["prefill", "generate"])
def test_visual_tokens_that_a_reducer_leaves_may_be_an_array(
    reducer: str, counts: list[int], stage: str
) -> None:
    batches, steps = [1, 8], 2
    many = analyze(
        "llava-1.5-7b",
        "h200",
        visual_tokens=counts,
        batch=[[b] for b in batches],
        reducer=reducer,
        stage=stage,
        output_tokens=steps,
    )
    assert many.comparison is not None
    rows = {op.key: op for op in many.ops}

    for (i, batch), (j, kept) in itertools.product(enumerate(batches), enumerate(counts)):
        one = analyze(
            "llava-1.5-7b",
            "h200",
            visual_tokens=kept,
            batch=batch,
            reducer=reducer,
            stage=stage,
            output_tokens=steps,
        )
        assert one.comparison is not None
        for part, totals in parts(one).items():
            found = figures(parts(many)[part])
            for name, value in figures(totals).items():
                assert at(found[name], i, j) == value, (part, name, kept)
        for part, saving in (*one.comparison.components.items(), ("", one.comparison.end_to_end)):
            of_all = many.comparison.components.get(part, many.comparison.end_to_end)
            for name, value in saving.to_dict().items():
                assert at(of_all.to_dict()[name], i, j) == value, (part, name, kept)
        assert at(many.comparison.speedup, i, j) == one.comparison.speedup
        share = at(many.comparison.reducer_share, i, j)
        assert np.array_equal(share, one.comparison.reducer_share, equal_nan=True)
        single = {op.key: op for op in one.ops}
        for key, op in rows.items():
            for name in op.__struct_fields__:
                same_at(getattr(op, name), key in single and getattr(single[key], name), i, j)


def at(value: Any, i: int, j: int) -> Any:
    """Of a figure of all, or one that does not depend on them, that of batch i and count j."""
    return None if value is None else np.broadcast_to(value, (2, np.shape(value)[-1]))[i, j]


def same_at(many: Any, one: Any, i: int, j: int) -> None:
    """A figure of an op among all; nothing where that configuration has no such op."""
    if isinstance(many, dict):
        for name, values in many.items():
            same_at(values, one and one.get(name, 0.0), i, j)
    elif isinstance(many, np.ndarray):
        nothing = "" if many.dtype.kind == "U" else 0
        assert at(many, i, j) == (nothing if one is False else one)
    elif one is not False:
        assert many == one


def test_ops_of_a_grid_are_those_of_its_cells() -> None:
    visual, batch = [[1], [4]], [1, 2, 3]
    many = {op.key: op for op in toy(lmm(), visual_tokens=visual, batch=batch).ops}

    for index, cell in all_cells({"visual_tokens": visual, "batch": batch}):
        for op in toy(lmm(), **cell).ops:
            for name in ("flops", "memory_access_bytes", "roofline_time_s", "attainable_time_s"):
                found = np.broadcast_to(getattr(many[op.key], name), (2, 3))[index]
                assert found == getattr(op, name), (op.name, name)


def test_ops_of_some_configurations_alone_are_nothing_elsewhere() -> None:
    # no image runs for 0 visual tokens
    estimate = analyze("llava-1.5-7b", "h200", visual_tokens=[0, 40])
    (patches,) = [op for op in estimate.ops if op.name == "patch_embedding"]
    alone = analyze("llava-1.5-7b", "h200", visual_tokens=40)
    (expected,) = [op for op in alone.ops if op.name == "patch_embedding"]

    assert list(patches.flops) == [0, expected.flops]
    assert list(patches.roofline_time_s) == [0, expected.roofline_time_s]
    assert list(patches.count) == [0, 1]
