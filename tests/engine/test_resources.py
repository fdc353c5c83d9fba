"""A third resource, made up: an op that moves bytes over a link, priced, and what it binds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from made_up import bare, lawful, toy_laws
from msgspec.structs import replace
from toy import llm

from roofline import analyze, count
from roofline.device.resources import RESOURCES, Resource
from roofline.engine.estimate import Estimate
from roofline.errors import UnsupportedModeError
from roofline.model.architectures import LANGUAGE_MODELS
from roofline.model.block import Block
from roofline.model.op import Op
from roofline.specs.hardware import Hardware

LINK_BYTES_PER_S = 1e9
Run = Callable[..., Estimate]


def with_transfer(blocks: Sequence[Block], batch: Any, tokens: Any, unit: Any) -> tuple[Block, ...]:
    """One kernel more, that sends [batch, tokens, 8] in 2 bytes over the link, in 3 pieces."""
    sent = batch * tokens * 8 * 2
    op = Op("send", "residual", unit, {}, {"sent": sent / 2}, elsewhere={"link": sent})
    return (*blocks, Block(3, (op,)))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Analyze a model that sends its hidden state over a link, on a device that has one."""
    plain = LANGUAGE_MODELS.find("language-model")
    for registry in (RESOURCES, LANGUAGE_MODELS):
        monkeypatch.setattr(registry, "_things", dict(registry._things))  # restored afterwards
    RESOURCES.register(
        "link",
        Resource("link", "link", lambda device: LINK_BYTES_PER_S if device.kind == "gpu" else None),
    )

    def analyzed(hardware: Hardware, unit: str = "vector", **options: Any) -> Estimate:
        def prefill(model: Any, groups: Any, *, batch: Any, **given: Any) -> tuple[Block, ...]:
            blocks = plain.prefill(model, groups, batch=batch, **given)
            return with_transfer(blocks, batch, groups[0].tokens, unit)

        def decode(model: Any, groups: Any, *, batch: Any, **given: Any) -> tuple[Block, ...]:
            return with_transfer(plain.decode(model, groups, batch=batch, **given), batch, 1, unit)

        LANGUAGE_MODELS.register("language-model", replace(plain, prefill=prefill, decode=decode))
        # what is laid out is remembered by the model: a name of its own for each that is made up
        model = replace(llm(), name=f"linked {unit}", num_hidden_layers=len(unit))
        given = {"visual_tokens": 20, "text_tokens": 80} | options
        if hardware is None:
            return count(model, **given)  # type: ignore[return-value]
        return analyze(model, hardware, **given)

    return analyzed


def send(estimate: Any, phase: str = "prefill") -> Any:
    return next(op for op in estimate.ops if (op.name, op.phase) == ("send", phase))


@pytest.mark.parametrize("batch", [1, [1, 5]], ids=str)
def test_an_op_waits_for_its_slowest_resource_whichever_it_is(run: Run, batch: Any) -> None:
    estimate = run(bare("h200"), batch=batch)
    link_s = 3 * np.asarray(batch) * 100 * 8 * 2 / LINK_BYTES_PER_S
    found = send(estimate)

    np.testing.assert_allclose(found.roofline_time_s, link_s, rtol=1e-14)
    np.testing.assert_allclose(found.resource_times_s["link"], link_s, rtol=1e-14)
    assert np.all(found.bound == "link")
    assert np.all(found.resource_times_s["dram"] < found.resource_times_s["link"])


def test_it_binds_the_whole(run: Run) -> None:
    estimate = run(bare("h200"))
    rest = [op for op in estimate.ops if op.name != "send"]
    by_bound = {
        word: sum(op.roofline_time_s for op in rest if op.bound == word)
        for word in ("compute", "memory")
    }
    times = {**by_bound, "link": send(estimate).roofline_time_s}
    total = sum(times.values())

    for whole in (estimate.llm, estimate.end_to_end):
        assert whole.roofline_time_s == pytest.approx(total, rel=1e-12)
        assert whole.bound_times_s["compute"] == pytest.approx(times["compute"], rel=1e-12)
        assert whole.bound_times_s["link"] == pytest.approx(times["link"], rel=1e-12)
        assert set(whole.bound_times_s) == {"compute", "link"}  # what is left waits for memory
        assert times["link"] > max(by_bound.values())
        assert whole.bound == "link"
    assert estimate.to_dict()["end_to_end"]["bound"] == "link"


def test_bytes_over_a_link_are_no_traffic(run: Run) -> None:
    found = send(run(bare("h200")))

    assert found.memory_access_bytes == 3 * 100 * 8 * 2  # what it writes, and no more
    assert found.flops == found.vector_flops == 0


def test_a_generation_sends_in_every_step(run: Run) -> None:
    estimate = run(bare("h200"), stage="generate", output_tokens=[0, 1, 7])

    np.testing.assert_allclose(
        send(estimate, "decode").resource_times_s["link"],
        3 * np.asarray([0, 1, 7]) * 8 * 2 / LINK_BYTES_PER_S,
        rtol=1e-14,
    )


@pytest.mark.parametrize("unit", ["vector", "matmul"])
def test_no_kernel_attains_more_than_its_link(run: Run, unit: str) -> None:
    # laws know nothing of links; for a matmul of no shape there is none at all
    device = lawful("h200", toy_laws("fp16", tile=64, vector_gb_per_s=2000.0))
    slow, fast = run(device, unit, batch=1000), run(device, unit, batch=1)

    assert send(slow).attainable_time_s == pytest.approx(3 * 1000 * 1600 / LINK_BYTES_PER_S)
    launches = 3e-6 if unit == "vector" else 0.0
    assert send(fast).attainable_time_s == pytest.approx(max(3 * 1600 / LINK_BYTES_PER_S, launches))
    for estimate in (slow, fast):
        whole = sum(op.attainable_time_s for op in estimate.ops)
        assert estimate.end_to_end.attainable_time_s == pytest.approx(whole, rel=1e-12)


def test_a_device_without_a_link_says_so(run: Run) -> None:
    with pytest.raises(UnsupportedModeError, match="has no link, which this run needs"):
        run(bare("xeon"), quant="bf16")


def test_a_link_is_counted_on_no_device(run: Run) -> None:
    assert send(run(None)).memory_access_bytes == 3 * 100 * 8 * 2  # type: ignore[arg-type]


def test_other_models_know_nothing_of_it(run: Run) -> None:
    run(bare("h200"))
    whole = analyze("clip-vit-l-336", "h200").end_to_end

    assert set(whole.bound_times_s) == {"compute"}
    assert whole.bound in ("compute", "memory")
