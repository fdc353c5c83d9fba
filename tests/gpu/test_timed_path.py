"""On a CUDA device: no host synchronisation on the timed path, and graphs that say the same."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import roofline  # noqa: E402  # torch may be missing
from roofline import reducers  # noqa: E402
from roofline.errors import UnsupportedModeError  # noqa: E402
from roofline.torch_side.measure.pipeline import Pipeline, build_pipeline  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
FIXED = [None, *(name for name in reducers.names() if not reducers.find(name).by_picture)]
STEPS = 4


@pytest.fixture(scope="module", params=["fp32", "fp16", "bf16"])
def model(request: pytest.FixtureRequest) -> Any:
    return roofline.load_model("llava-tiny", device="cuda", dtype=request.param)


def built(model: Any, name: str | None, **options: Any) -> Pipeline:
    return build_pipeline(
        "llava-tiny", loaded=model, reducer=name, visual_tokens=12, batch=2, output_tokens=STEPS,
        **options,
    )  # fmt: skip


@pytest.mark.parametrize("name", FIXED)
def test_graphs_compute_anew_what_runs_eagerly(model: Any, name: str | None) -> None:
    with built(model, name, mode="cuda-graph") as graphs:
        with torch.inference_mode():
            graphs._pixels.copy_(torch.randn_like(graphs._pixels))
        pixels = graphs._pixels.clone()
        found = [graphs.prefill().clone(), graphs.decode_step().clone(), graphs.generate()]
        repeated = graphs.decode_step().clone()
    with built(model, name, image=pixels) as eager:
        wanted = [eager.prefill(), eager.decode_step(), eager.generate()]

    for got, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, expected)
    assert torch.equal(repeated, found[1])


@pytest.mark.parametrize("name", [None, "prumerge", "tome"])
def test_static_graphs_answer_as_what_runs_eagerly(model: Any, name: str | None) -> None:
    with built(model, name, mode="static-graph") as static:
        pixels = static._pixels.clone()
        found = [static.prefill().clone(), static.generate()]
        steps = [static.decode_step().clone() for _ in range(2)]
    with built(model, name, image=pixels) as eager:
        wanted = [eager.prefill(), eager.generate()]
        step = eager.decode_step()

    for got, expected in zip([*found, *steps], [*wanted, step, step], strict=True):
        torch.testing.assert_close(got, expected)


def test_static_graphs_take_what_an_adaptive_reducer_leaves(model: Any) -> None:
    """Sequences of different lengths, padded behind a mask."""
    given = {"loaded": model, "reducer": "prumerge", "batch": 2, "output_tokens": STEPS}
    with build_pipeline("llava-tiny", **given, mode="static-graph") as static:
        found = static.prefill().clone(), static.generate()
    with build_pipeline("llava-tiny", **given) as eager:
        torch.testing.assert_close(found, (eager.prefill(), eager.generate()))
        torch.cuda.set_sync_debug_mode("error")
        try:
            eager.decode_step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", FIXED)
def test_nothing_on_the_timed_path_waits_for_the_device(model: Any, name: str | None) -> None:
    with built(model, name) as pipeline:
        torch.cuda.set_sync_debug_mode("error")
        try:
            pipeline.generate()
            pipeline.decode_step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_as_on_the_cpu() -> None:
    found, expected = (
        build_pipeline("llava-tiny", reducer="prumerge", visual_tokens=12,
                       loaded=roofline.load_model("llava-tiny").to(device))
        for device in ("cuda", "cpu")
    )  # fmt: skip

    torch.testing.assert_close(found.prefill().cpu(), expected.prefill(), rtol=1e-2, atol=1e-2)


def test_counts_that_the_image_decides_on_are_refused(model: Any) -> None:
    with pytest.raises(UnsupportedModeError, match="image decides"):
        build_pipeline("llava-tiny", loaded=model, reducer="prumerge", mode="cuda-graph")
