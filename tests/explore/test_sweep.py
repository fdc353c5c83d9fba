"""Sweeps against single analyses; streams against sweeps."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from made_up import device
from toy import figures, llm, lmm, parts

from roofline import analyze, stream, sweep
from roofline.engine.estimate import Estimate
from roofline.errors import ScenarioError, UnknownNameError

AXES: dict[str, list[int]] = {
    "visual_tokens": [0, 1, 9, 20],
    "text_tokens": [5, 6, 7],
    "batch": [1, 2],
    "output_tokens": [0, 1, 2, 3, 40],
}


def test_a_sweep_is_every_combination_in_the_order_of_the_axes() -> None:
    grid = sweep(lmm(), device(), **AXES, stage="generate")
    found = {part: figures(totals) for part, totals in parts(grid).items()}

    assert grid.shape == (4, 3, 2, 5)
    for index in np.ndindex(grid.shape):
        cell = {n: values[i] for (n, values), i in zip(AXES.items(), index, strict=True)}
        single = analyze(lmm(), device(), **cell, stage="generate")
        for part, totals in parts(single).items():
            expected = figures(totals)
            assert {n: np.asarray(v)[index] for n, v in found[part].items()} == expected, cell


def test_plain_numbers_are_no_axes_of_a_sweep() -> None:
    assert sweep(llm(), device(), visual_tokens=[1, 2], batch=3).shape == (2,)
    assert sweep(llm(), device(), visual_tokens=1, batch=[3, 4, 5]).llm.flops.shape == (3,)
    assert sweep(llm(), device(), visual_tokens=1).shape == ()
    assert sweep(llm(), device(), visual_tokens=[1], batch=range(1, 4)).shape == (1, 3)


@pytest.mark.parametrize("function", [sweep, lambda *a, **k: list(stream(*a, **k))])
def test_a_sweep_takes_no_tables(function: Any) -> None:
    with pytest.raises(ScenarioError, match="1-d"):
        function(llm(), device(), visual_tokens=[[1, 2]])


def test_a_sweep_takes_a_reducer() -> None:
    grid = sweep("llava-1.5-7b", "h200", visual_tokens=[40, 144], batch=[1, 4], reducer="prumerge")

    for (i, kept), (j, batch) in itertools.product(enumerate([40, 144]), enumerate([1, 4])):
        single = analyze(
            "llava-1.5-7b", "h200", visual_tokens=kept, batch=batch, reducer="prumerge"
        )
        for part, totals in parts(single).items():
            found = figures(parts(grid)[part])
            for name, value in figures(totals).items():
                assert (None if found[name] is None else found[name][i, j]) == value, (
                    part,
                    name,
                    kept,
                    batch,
                )


def joined(chunks: list[Estimate]) -> dict[str, dict[str, Any]]:
    """Figures of all chunks, one after the other."""
    figures_of = [{part: figures(t) for part, t in parts(chunk).items()} for chunk in chunks]
    return {
        part: {name: np.concatenate([each[part][name] for each in figures_of]) for name in names}
        for part, names in figures_of[0].items()
    }


@pytest.mark.parametrize("chunk", [1, 7, 40, 119, 120, 121, 10_000])
def test_a_stream_is_a_sweep_in_pieces(chunk: int) -> None:
    grid = sweep(lmm(), device(), **AXES, stage="generate")
    chunks = list(stream(lmm(), device(), **AXES, stage="generate", chunk=chunk))

    sizes = [one.shape for one in chunks]
    assert sizes == [(min(chunk, 120 - first),) for first in range(0, 120, chunk)]
    found = joined(chunks)
    for part, totals in parts(grid).items():
        for name, values in figures(totals).items():
            np.testing.assert_array_equal(found[part][name], np.ravel(values), err_msg=name)


def test_each_chunk_says_which_configurations_it_has() -> None:
    chunks = list(stream(llm(), device(), **AXES, chunk=17))
    rows = [
        tuple(int(np.broadcast_to(c.scenario.counts[name], c.shape)[i]) for name in AXES)
        for c in chunks
        for i in range(c.shape[0])
    ]

    assert rows == list(itertools.product(*AXES.values()))


def test_plain_numbers_stay_plain_in_a_stream() -> None:
    (one,) = stream(llm(), device(), visual_tokens=[1, 2], batch=3)

    assert one.inputs["batch"] == 3
    assert one.shape == (2,)


@pytest.mark.parametrize("visual", [7, [7]], ids=str)
def test_a_stream_of_one_configuration(visual: Any) -> None:
    (one,) = stream(llm(), device(), visual_tokens=visual, chunk=3)

    assert one.shape == (1,)
    assert list(one.llm.flops) == [analyze(llm(), device(), visual_tokens=7).llm.flops]


def test_chunks_come_as_they_are_asked_for() -> None:
    # 10^12 configurations: whoever computed them all would never return
    many = np.arange(1, 1_000_001)
    chunks = stream(llm(), device(), visual_tokens=many, text_tokens=many, chunk=100)
    first = next(chunks)

    assert first.shape == (100,)
    np.testing.assert_array_equal(
        first.llm.flops,
        analyze(llm(), device(), visual_tokens=1, text_tokens=many[:100]).llm.flops,
    )


def test_unless_told_a_chunk_is_a_quarter_of_a_mebi() -> None:
    many = np.arange(1, 1001)
    fast = device(kernel_laws=None)

    assert next(stream(llm(), fast, visual_tokens=many, text_tokens=many)).shape == (2**18,)


def test_what_a_stream_refuses() -> None:
    with pytest.raises(ScenarioError, match="`chunk` must be 1 or more, and is 0"):
        next(stream(llm(), device(), visual_tokens=[1, 2], chunk=0))
    with pytest.raises(UnknownNameError):
        next(stream("llava-9", "h200"))
    with pytest.raises(TypeError, match="no axis 'visual'"):
        sweep(llm(), device(), visual=[1])
