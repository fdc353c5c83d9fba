"""On a CUDA device: kernels are attributed to the ops that launched them, all of them."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import roofline  # noqa: E402  # torch may be missing
from roofline.torch_side.measure.host_overhead import host_overhead  # noqa: E402
from roofline.torch_side.measure.per_op import OTHER, achieved, measure_ops  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
TEXT = 9


@pytest.fixture(scope="module")
def llava() -> Any:
    return roofline.load_model("llava-tiny", device="cuda")


def prefill(model: Any) -> Any:
    ids = torch.tensor([[7] * TEXT + [model.config.image_token_id] * 36], device="cuda")
    pixels = torch.zeros(1, 3, 84, 84, device="cuda", dtype=torch.float16)

    def run(mark: Any = None) -> None:
        with torch.no_grad():
            model(input_ids=ids, pixel_values=pixels, logits_to_keep=1)

    return run


def test_every_op_has_kernels(llava: Any) -> None:
    ops = roofline.analyze("llava-tiny", "v100", text_tokens=TEXT).ops

    times = measure_ops(prefill(llava), llava, "cuda", repeats=3)

    found = {(time.component, time.name): time for time in times}
    for op in ops:
        time = found[op.component, op.name]
        assert time.kernels >= time.count
        assert time.measured_time_s > 0
    assert all(r.share_of_roof for r in achieved(times, ops) if r.roofline_time_s)
    known = sum(time.measured_time_s for time in times if time.name != OTHER)
    assert known > 0.8 * sum(time.measured_time_s for time in times)


def test_a_tiny_model_waits_for_its_launches(llava: Any) -> None:
    found = host_overhead(prefill(llava), "cuda", repeats=3)

    assert found.kernels > 100
    assert 0 < found.busy_s < found.wall_s
    assert found.verdict == "launch-bound"


def test_a_great_product_does_not() -> None:
    matrix = torch.ones(8192, 8192, device="cuda", dtype=torch.float16)

    found = host_overhead(lambda: matrix @ matrix, "cuda", repeats=3)

    assert found.verdict == "device-bound"
