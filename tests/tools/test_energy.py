"""Energies of served models, where the tables are."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT.parent / "shared" / "measured"
sys.path.insert(0, str(ROOT / "tools"))

import energy  # noqa: E402  # a tool, which no package holds


def test_models_are_known_by_a_part_of_their_name() -> None:
    assert energy.served_model("Qwen/Qwen3-VL-30B-A3B-Instruct") == energy.MODELS["30b-a3b"]
    assert energy.served_model("nobody/knows") is None
    # 36 layers of 8 heads of 128, keys and values of 2 B
    assert energy.MODELS["qwen3-8b"].kv_bytes == 147456


@pytest.mark.skipif(not MEASURED.exists(), reason="the tables are not here")
def test_the_laws_are_nearer_than_the_bound() -> None:
    table = energy.energies(MEASURED)
    assert (table["measured_j"] <= 1.01 * table["bound_j"]).all()

    found, bound = energy.errors(table), energy.errors(table, "bound_j")
    assert (found["median"] <= 15).all()
    assert (found["median"] < bound["median"] / 2).all()


@pytest.mark.skipif(not MEASURED.exists(), reason="the tables are not here")
def test_a_step_takes_what_its_weights_and_cache_take_at_least() -> None:
    rows = energy.serving_rows(MEASURED)
    bandwidth = rows["hardware"].map({"h100-sxm": 3.35e12, "b200": 8e12})
    assert (rows["bytes"] / bandwidth < rows["step_s"]).all()
    # one Llama of 8 GB parameters, 8 sequences: weights, and a cache of a few hundred tokens each
    llama = rows[rows["model_id"].str.contains("Llama-3.1-8B") & (rows["max_num_seqs"] == 8)]
    np.testing.assert_allclose(llama["bytes"], 16e9 + 8 * 640 * 131072, rtol=0.01)
