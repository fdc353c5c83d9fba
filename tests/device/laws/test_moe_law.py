"""Attainable time of mixture-of-experts MLPs: a loop over experts, by hand, and properties."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from example_laws import CURVED_MOE, MOE, experts_seconds
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

many = settings(deadline=None, max_examples=200)


def naive(tokens: int, hidden: int, inner: int, experts: int, top_k: int, *, gated: bool) -> float:
    """MOE's physics expert by expert and matmul by matmul."""
    rows = tokens * top_k
    touched = min(experts, rows)
    each = rows / touched
    busy = 1 + gated
    total = 0.5e-9 * rows + 5e-9 * experts
    total += 1.5 * 2 * (rows * ((1 + busy) * inner + 2 * hidden) + 2 * tokens * hidden) / 1e12
    for n, k in ((busy * inner, hidden), (hidden, inner)):
        compute = memory = blocks = 0.0
        for _ in range(touched):
            compute += 2 * (each + 16) * n * (k + 100) / (1e14 * 0.6)
            memory += 2 * n * k / (1e12 * 0.8)
            blocks += math.ceil(each / 64) * n / 128
        depth = max(1.0, blocks / 100) * k * 2e-9
        total += (compute**4 + memory**4 + depth**4) ** 0.25
    return 10e-6 + total * (1.4 if inner % 16 else 1.0)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("inner", [768, 776])
@pytest.mark.parametrize("tokens", [1, 3, 20, 700])
def test_physics_is_that_of_a_loop_over_experts(tokens: int, inner: int, gated: bool) -> None:
    expected = naive(tokens, 2048, inner, 64, 8, gated=gated)
    got = experts_seconds(MOE, tokens, 2048, inner, 64, 8, gated=gated)

    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_a_law_states_its_terms() -> None:
    assert MOE.terms.startswith("10 µs of launches + FLOPs at up to 60 % of the peak, weights of ")
    assert "experts at up to 80 % of the bandwidth" in MOE.terms


def test_curves_stand_for_factors_at_their_nodes() -> None:
    """One token touches its experts with a row each; the shape is in the middle of its ranges."""
    middle = (2**11.5, 2**9.5, 64.0, 2**2.25)
    flat = replace(
        CURVED_MOE,
        rows_tilt=(0.0,) * 4,
        touched_tilt=(0.0,) * 4,
        shape_corrections=(0.2, 9, 9, 9, 9),
    )
    plain, curved = (experts_seconds(law, 2**1.75, *middle) for law in (MOE, flat))
    # 16 experts touched, one row each: the third node of one curve, the first of the other
    np.testing.assert_allclose(curved / plain, np.exp(0.2 + 0.0 + 0.06), rtol=1e-9)


def test_weights_in_the_cache_come_sooner() -> None:
    cached = replace(MOE, cached_bandwidth_ratio=3.0, cached_share=1.0)
    small, large = (1, 512, 256, 8, 2), (4096, 4096, 4096, 64, 8)
    assert experts_seconds(cached, *small) < experts_seconds(MOE, *small)
    np.testing.assert_allclose(
        experts_seconds(cached, *large), experts_seconds(MOE, *large), rtol=1e-6
    )


@many
@given(
    st.integers(1, 20_000),
    st.integers(64, 8192),
    st.integers(16, 16384),
    st.integers(1, 512),
    st.integers(1, 16),
)
def test_never_falls_with_tokens_and_never_beats_the_roofline(
    tokens: int, hidden: int, inner: int, experts: int, top_k: int
) -> None:
    top_k = min(top_k, experts)
    some = np.array([tokens, tokens + 1, 2 * tokens, 10 * tokens], dtype=float)
    for law in (MOE, CURVED_MOE):
        times = experts_seconds(law, some, hidden, inner, experts, top_k)
        assert (np.diff(times) >= -1e-12 * times[:-1]).all()
        flops = 6 * some * top_k * hidden * inner
        touched = np.minimum(experts, some * top_k)
        moved = 6 * touched * hidden * inner + 4 * some * hidden
        assert (times >= np.maximum(flops / 1e14, moved / 1e12)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows_curve": (0.0, 1.0)}, "takes 9 numbers"),
        ({"touched_curve": (0.0, 0.2, 0.1, 0.3, 0.4)}, "must not fall"),
        ({"rows_tilt": (1.0,)}, "takes 4 numbers"),
        ({"shape_corrections": (1.0,) * 4}, "takes 5 numbers"),
    ],
)
def test_a_law_with_half_a_correction_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CURVED_MOE, **change)
