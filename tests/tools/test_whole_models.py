"""What the tools say of whole models that others measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from roofline.specs.catalog import load_hardware

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT.parent / "shared" / "measured"
sys.path.insert(0, str(ROOT / "tools"))

import fit_whole_models  # noqa: E402  # a script of tools/
import timm_models  # noqa: E402
import whole_models  # noqa: E402

needs_tables = pytest.mark.skipif(not MEASURED.is_dir(), reason="the tables are elsewhere")


@pytest.mark.parametrize(
    ("name", "size", "tokens", "width"),
    [
        ("vit_base_patch16_224", 224, 197, 768),
        ("vit_so400m_patch14_siglip_384", 384, 729, 1152),
        ("vit_large_patch14_clip_quickgelu_336", 336, 577, 1024),
        ("deit_base_distilled_patch16_384", 384, 577, 768),
        ("vit_base_patch16_plus_240", 240, 226, 896),
    ],
)
def test_sizes_follow_from_timms_names(name: str, size: int, tokens: int, width: int) -> None:
    columns = timm_models.columns(name, size)
    patches = (size // columns["patch_size"]) ** 2 + columns["class_token"]
    assert (patches, columns["hidden_size"]) == (tokens, width)


def test_what_the_formulas_lack_is_said() -> None:
    assert "SwiGLU" in timm_models.why_left_out("eva02_large_patch14_448")
    assert timm_models.why_left_out("vit_nano_patch16_224") == "an unknown size"
    assert timm_models.why_left_out("vit_tiny_patch16_224") == ""


def test_a_correction_goes_into_a_file_and_is_replaced_there() -> None:
    text = (ROOT / "hardware" / "rtx-4090.yaml").read_text(encoding="utf-8")
    correction = load_hardware("rtx-4090").correction
    assert correction is not None
    assert fit_whole_models.with_correction(text, correction) == text


@needs_tables
def test_multiply_accumulates_are_those_of_the_table() -> None:
    from roofline import count
    from roofline.fitting.whole_rows import whole_model_times

    table = whole_models.vit_table(MEASURED).drop_duplicates("model")
    rows = whole_model_times(table.drop(columns="gmacs"))
    for row, gmacs in zip(rows, table["gmacs"], strict=True):
        counted = count(row.model).end_to_end.flops / 2e9
        assert counted == pytest.approx(gmacs, rel=whole_models.GMACS_OFF), row.label


@needs_tables
def test_towers_and_edge_boards_are_as_far_off_as_the_docs_say() -> None:
    frame = whole_models.towers(MEASURED)
    assert tuple(frame.columns) == whole_models.COLUMNS
    assert len(frame) == 222
    known = whole_models.summary(frame)
    assert known["mean"].max() < 6
    assert known["within"].mean() > 80
    lent = whole_models.summary(whole_models.uncorrected_towers(MEASURED))
    assert lent["mean"].max() < 13
    boards = whole_models.summary(whole_models.edge(MEASURED))
    assert boards.loc[("edge", "jetson-orin-nano")]["mean"].max() < 20
