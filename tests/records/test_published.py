"""Published accuracies: what was typed in is what is printed, and what it means for `analyze`."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

import roofline
from roofline.errors import InputError, SpecError
from roofline.records.published import PublishedAccuracy, published, scores, unpriced
from roofline.specs.reading import build

# Rows of each table, and the sum of each of its columns, added up from the paper's text.
PRINTED: dict[int, tuple[int, dict[str, str]]] = {
    1: (
        14,
        {
            "VQAv2": "844.2",
            "ScienceQA-IMG": "737.1",
            "TextVQA": "675.0",
            "POPE": "659.2",
            "MME": "12762.5",
            "MMBench": "682.1",
        },
    ),
    3: (
        8,
        {
            "MSVD-QA": "472.8",
            "MSVD-QA score": "23.4",
            "MSRVTT-QA": "361.4",
            "MSRVTT-QA score": "20.4",
            "ActivityNet-QA": "247.8",
            "ActivityNet-QA score": "18.8",
        },
    ),
    # 54.00 + 42.72 + 46.85 + 47.42; 1250.07 + 703.60 + 1180.23 + 1142.32;
    # 76.2 + 11.7 + 69.8 + 71.1 + 67.9; 68.07 + 64.20 + 66.29
    4: (
        16,
        {"TextVQA": "190.99", "MME": "4276.22", "POPE": "296.7", "ScienceQA-IMG": "198.56"},
    ),
    5: (3, {"ScienceQA-IMG": "201.8", "TextVQA": "169.0", "POPE": "237.9", "MME": "4082.6"}),
    6: (3, {"ScienceQA-IMG": "203.3", "TextVQA": "168.2", "POPE": "238.4", "MME": "4111.1"}),
    7: (
        7,
        {
            "VQAv2": "508.4",
            "ScienceQA-IMG": "460.1",
            "TextVQA": "393.1",
            "POPE": "507.4",
            "MME": "9988.1",
            "MMBench": "426.8",
        },
    ),
}
MODELS = ("llava-1.5-7b", "llava-1.5-13b", "video-llava-7b")


def test_every_table_has_all_its_rows_and_digits() -> None:
    found = {}
    for table in published().tables:
        sums: dict[str, Decimal] = {}
        for row in table.rows:
            for benchmark, printed in row.scores.items():
                sums[benchmark] = sums.get(benchmark, Decimal(0)) + Decimal(printed)
        found[table.number] = len(table.rows), {name: str(total) for name, total in sums.items()}

    assert found == PRINTED


def test_scores_lie_on_their_benchmarks_scale() -> None:
    for score in scores(MODELS):
        assert 0 < score.value < published().benchmarks[score.benchmark].full_marks


def test_the_tables_agree_where_they_print_the_same_row() -> None:
    """LLaVA-1.5 7B stands in four tables, and comes once, with all of them as sources."""
    found = [s for s in scores(["llava-1.5-7b"]) if s.reducer is None and s.method == "LLaVA-1.5"]

    assert {s.benchmark: s.printed for s in found} == {
        "VQAv2": "78.5",
        "ScienceQA-IMG": "66.8",
        "TextVQA": "58.2",
        "POPE": "85.9",
        "MME": "1510.7",
        "MMBench": "64.3",
    }
    printed_in = next(s.sources for s in found if s.benchmark == "POPE")
    assert printed_in == ("table 1, row 9", "table 5, row 1", "table 6, row 1", "table 7, row 1")


def test_each_method_has_its_own_number_of_tokens() -> None:
    found = {(s.method, s.model, s.benchmark): s.visual_tokens for s in scores(MODELS)[:54]}

    assert found["PruMerge", "llava-1.5-7b", "VQAv2"] == round(0.055 * 576)
    assert found["PruMerge", "llava-1.5-13b", "TextVQA"] == 40  # section 4.4.1, as the next two
    assert found["PruMerge", "llava-1.5-7b", "POPE"] == 35
    assert found["PruMerge", "llava-1.5-7b", "ScienceQA-IMG"] == 16
    assert found["PruMerge+", "llava-1.5-7b", "POPE"] == 576 // 4
    assert found["PruMerge", "video-llava-7b", "MSVD-QA"] == 2048 // 8
    assert found["PruMerge+", "video-llava-7b", "MSVD-QA"] == 2048 // 4
    assert found["LLaVA-1.5", "llava-1.5-7b", "MME"] is None


def test_fine_tuned_and_training_free_are_told_apart() -> None:
    on_text = [s for s in scores(["llava-1.5-7b"]) if s.benchmark == "TextVQA"]
    trained = {s.printed: s.training for s in on_text if s.method == "PruMerge"}

    assert trained == {"56.0": "fine-tuned", "54.00": "training-free"}  # table 6: LoRA, and without


def test_all_of_them_can_be_priced() -> None:
    prompts = {(s.model, s.reducer, s.visual_tokens) for s in scores(MODELS)}

    for model, reducer, tokens in prompts:
        estimate = roofline.analyze(model, "h200", visual_tokens=tokens, reducer=reducer)
        assert estimate.end_to_end.roofline_time_s > 0
    # 7B: whole, PruMerge at 4 counts, + at 2, sequential at 3, spatial at 4, AITS and 4 others;
    # 13B: whole, PruMerge at 4, + at 1; video: 3
    assert len(prompts) == 19 + 6 + 3


def test_other_models_are_named_with_a_reason() -> None:
    left = unpriced()

    assert len(left) == 8 + 5  # rows of tables 1 and 3 above those of LLaVA
    assert {one.method for one in left} >= {"BLIP-2", "Shikra", "Qwen-VL", "Video-ChatGPT"}
    assert all(one.why for one in left)


def test_a_point_is_a_hundredth_of_the_scale() -> None:
    known = published().benchmarks

    assert known["VQAv2"].point == 1
    assert known["MME"].point == 20
    assert known["MSVD-QA score"].point == 0.05


def test_a_model_without_published_accuracy_is_refused() -> None:
    with pytest.raises(InputError, match=r"vicuna-7b.*choose among llava-1\.5-7b"):
        scores(["vicuna-7b"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scores": {"VQAv3": "1"}}, "table 1, row 9: benchmarks lacks VQAv3"),
        ({"model": None}, "table 1, row 9: give either model or not_priced"),
    ],
)
def test_faults_in_the_data_are_found(changed: dict[str, Any], message: str) -> None:
    data = msgspec.json.decode(msgspec.json.encode(published()))
    data["tables"][0]["rows"][8] |= changed

    with pytest.raises(SpecError, match=message):
        build(PublishedAccuracy, data, "accuracy.yaml")
