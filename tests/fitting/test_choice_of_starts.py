"""Which of several fits is kept: the one that explains the times better, on shapes of its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from roofline.device.laws.matmul import MatmulLaw, matmul_seconds
from roofline.device.roof import Roof
from roofline.fitting import matmul
from roofline.fitting.initial_guesses import CPU, GPU, LOW_BIT, SM89_FP8, SM90_FP8, UNSPLIT, starts
from roofline.fitting.rows import held_out

ROOF = Roof(flops_per_s=3e14, bytes_per_s=2e12, units=108, cache_bytes=4e7)


def table(law: MatmulLaw) -> matmul._MatmulTimes:
    """Few rows and deep sums, where splitting k is all the difference."""
    m, n, k = (
        a.ravel().astype(float)
        for a in np.meshgrid([1, 16, 64, 128], [256, 512, 1024], [4096, 8192, 16384, 32768])
    )
    moved = {"weight_bytes": 2 * n * k, "activation_bytes": 2 * m * (n + k)}
    return matmul._MatmulTimes(ROOF, "bf16", m, n, k, matmul_seconds(law, ROOF, m, n, k, **moved))


@pytest.mark.parametrize("order", [1, -1], ids=["first", "last"])
@pytest.mark.parametrize("truth", [GPU, UNSPLIT], ids=["split", "unsplit"])
def test_the_library_that_made_the_times_is_found(truth: MatmulLaw, order: int) -> None:
    candidates = (GPU, UNSPLIT)[::order]
    start, first = matmul._most_promising(table(truth), candidates)

    assert start == truth
    assert first is None  # too few rows to spare any


class Spied:
    """A model that remembers what data it is given; its fit has the loss of its start."""

    def __init__(self, data: Any, start: MatmulLaw) -> None:
        self.data, self.template, self.measured = data, start, None


def test_trials_see_none_of_the_shapes_that_measure_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n, k = (a.ravel() for a in np.meshgrid(np.arange(1.0, 61.0), np.arange(1.0, 61.0)))
    data = matmul._MatmulTimes(ROOF, "bf16", np.ones(3600), n, k, np.ones(3600))
    models: list[Spied] = []

    def fit(model: Spied, measured: Any) -> tuple[Any, float]:
        models.append(model)
        return np.array([float(len(models))]), {2.0: 9.0, 3.0: 1.0, 4.0: 5.0}[
            model.template.launch_us
        ]

    monkeypatch.setattr(matmul, "_MatmulFit", Spied)
    monkeypatch.setattr(matmul, "descend", fit)
    candidates = [replace(GPU, launch_us=launch) for launch in (2.0, 3.0, 4.0)]
    start, first = matmul._most_promising(data, candidates)

    assert start.launch_us == 3.0  # the least loss
    assert first == np.array([2.0])  # and where that fit came
    (out,) = held_out(n, k)
    tested = set(zip(n[out], k[out], strict=True))
    for model in models:
        tried = set(zip(model.data.n, model.data.k, strict=True))
        assert not tried & tested
        assert 0.1 < len(tried) / 3600 < 0.35  # a quarter of the other three


@pytest.mark.parametrize(("rows", "spares"), [(2000, False), (2001, True)])
def test_of_more_than_2000_rows_only_some_try_the_starts(
    monkeypatch: pytest.MonkeyPatch, rows: int, spares: bool
) -> None:
    ones, n = np.ones(rows), np.arange(1.0, rows + 1)
    data = matmul._MatmulTimes(ROOF, "bf16", ones, n, ones, ones)
    sizes: list[int] = []

    def fit(model: Spied, measured: Any) -> tuple[Any, float]:
        sizes.append(model.data.m.size)
        return np.zeros(1), float(len(sizes))

    monkeypatch.setattr(matmul, "_MatmulFit", Spied)
    monkeypatch.setattr(matmul, "descend", fit)
    start, first = matmul._most_promising(data, (GPU, UNSPLIT))

    assert start is GPU
    assert (first is not None) is spares
    assert all(size < rows / 2 if spares else size == rows for size in sizes)
    assert len(sizes) == 2


@pytest.mark.parametrize("shapes", [1, 2, 13])
def test_few_shapes_are_all_tried_however_many_rows_there_are(
    monkeypatch: pytest.MonkeyPatch, shapes: int
) -> None:
    """Each of them is held out in turn, so that none can be spared; 13 leave 12 or fewer."""
    m, n = (a.ravel() for a in np.meshgrid(np.arange(1.0, 2002.0), np.arange(1.0, shapes + 1)))
    data = matmul._MatmulTimes(ROOF, "bf16", m, n, np.ones(m.size), np.ones(m.size))
    models: list[Spied] = []

    def fit(model: Spied, measured: Any) -> tuple[Any, float]:
        models.append(model)
        return np.zeros(1), 1.0

    monkeypatch.setattr(matmul, "_MatmulFit", Spied)
    monkeypatch.setattr(matmul, "descend", fit)
    assert matmul._most_promising(data, (GPU, UNSPLIT)) == (GPU, None)
    assert [model.data.m.size for model in models] == [m.size] * 2


def test_a_single_library_needs_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "descend", None)
    assert matmul._most_promising(table(GPU), (CPU,)) == (CPU, None)


@pytest.mark.parametrize(("prior_loss", "expected"), [(1.0, "prior"), (3.0, "trial")])
def test_of_two_fits_the_better_is_kept(
    monkeypatch: pytest.MonkeyPatch, prior_loss: float, expected: str
) -> None:
    answers = {None: ("prior", prior_loss), "there": ("trial", 2.0)}
    monkeypatch.setattr(matmul, "descend", lambda model, measured, x: answers[x])
    model: Any = SimpleNamespace(measured=None)

    assert matmul._best(model, "there") == expected  # type: ignore[arg-type, comparison-overlap]
    assert matmul._best(model, None) == "prior"  # type: ignore[comparison-overlap]


def test_starts_are_the_libraries_that_have_such_kernels() -> None:
    assert starts("cpu", 2, 2) == (CPU,)
    assert starts("gpu", 2, 2) == (GPU, UNSPLIT)

    eight_bit = starts("gpu", 1, 1)
    assert [start.tiles for start in eight_bit] == [
        start.tiles for start in (GPU, UNSPLIT, SM89_FP8, SM90_FP8, *LOW_BIT)
    ]
    # 16-bit inputs are quantized before an 8-bit product; weights are not unpacked
    assert all(start.quantizing_passes and not start.packing_passes for start in eight_bit)

    weight_only = starts("gpu", 0.5, 2)
    assert all(start.packing_passes for start in weight_only)
    assert weight_only[-1].tiles == SM90_FP8.tiles


def test_limits_of_a_dispatch_cover_every_shape_once() -> None:
    for law in (SM89_FP8, SM90_FP8):
        for m in (1, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257, 9999):
            for n in (1, 1280, 1281, 4096, 4097, 8192, 8193, 16384, 16385):
                taken = [
                    tile
                    for tile in law.tiles
                    if tile.m_over < m <= (tile.m_up_to or np.inf)
                    and tile.n_over < n <= (tile.n_up_to or np.inf)
                ]
                assert len(taken) == 1, (m, n)
