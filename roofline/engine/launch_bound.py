"""Where a prefill waits for the host that issues its kernels: there fewer tokens change nothing."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from msgspec.structs import replace

from roofline.engine.estimate import Estimate
from roofline.engine.layout import all_visual_tokens
from roofline.engine.scenario import Axes, Scenario
from roofline.specs.hardware import Hardware
from roofline.specs.models import Model
from roofline.specs.quantization import Quantization

FLAT = 0.01
"""What a prefill may take longer than with a single visual token and still be no slower: all but
the LLM, such as the connector, grows a little."""


def launch_bound_tokens(
    model: str | Model,
    hardware: str | Hardware,
    quant: str | Quantization = "fp16",
    **axes: Unpack[Axes],
) -> int | None:
    """Below how many visual tokens a prefill gets no faster, since it waits for the host.

    End to end, of fewer tokens without anybody's work. `runtime` is `eager` by default; other
    keywords are those of `analyze`. 0 if even a single token keeps the device busy for longer;
    None for a runtime that adds to the kernels or a model that does not tell how many visual
    tokens its images give. Raises as `analyze`.
    """
    axes.setdefault("runtime", "eager")
    return waits_for_host(Estimate.of(Scenario.of(model, hardware, quant, **axes)))


def waits_for_host(estimate: Estimate) -> int | None:
    """The same of one configuration's model, device and runtime, at any count of its own.

    None for several configurations, too.
    """
    scenario, per_sample = estimate.scenario, estimate.unreduced_visual_tokens
    runtime, seen = scenario.runtime, scenario.counts["visual_tokens"]
    if runtime is None or not runtime.overlaps or "llm" not in estimate.components:
        return None
    if per_sample is None or estimate.shape:
        return None
    reduced = scenario.reducer is not None
    most = int(all_visual_tokens(np.maximum(seen, 1.0), per_sample, reduced=reduced))
    counts = {**scenario.counts, "visual_tokens": np.arange(1.0, most + 1)}
    plain_prompt = replace(
        scenario, counts=counts, reducer=None, vision_layers=None, llm_layers=None, stage="prefill"
    )
    return tokens_of_curve(Estimate.of(plain_prompt))


def tokens_of_curve(curve: Estimate) -> int | None:
    """The same of a prefill at 1, 2, … visual tokens."""
    runtime, llm = curve.scenario.runtime, curve.llm
    elapsed_s, host_s = curve.end_to_end.elapsed_time_s, llm.host_time_s
    if runtime is None or not runtime.overlaps or elapsed_s is None or host_s is None:
        return None
    waits = (host_s >= llm.kernel_time_s) & (elapsed_s <= (1 + FLAT) * elapsed_s[0])
    ends = np.flatnonzero(~waits)
    return int(ends[0]) if ends.size else len(waits)
