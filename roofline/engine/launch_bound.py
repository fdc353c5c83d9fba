"""Where a prefill waits for the host that issues its kernels: there fewer tokens change nothing."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from roofline.engine.layout import all_visual_tokens
from roofline.engine.result import Totals
from roofline.engine.run import Run
from roofline.engine.scenario import Scenario
from roofline.specs.runtimes import Runtime

FLAT = 0.01
"""What a prefill may take longer than with a single visual token and still be no slower: all but
the LLM, such as the connector, grows a little."""

FIRST_TRIED = 4096
"""Visual tokens that are tried at first: where a prefill still waits for its host, four times as
many."""


def waits_for_host(scenario: Scenario, per_sample: int | None) -> int | None:
    """Up to how many visual tokens the prefill of a scenario's model waits for its host.

    End to end, of fewer tokens without anybody's work. per_sample: visual tokens of a sample, which
    tell how many there are at most. None without those, for several configurations, and without a
    runtime whose host works ahead of the device.
    """
    runtime = scenario.runtime
    if runtime is None or not runtime.overlaps or per_sample is None or scenario.shape:
        return None
    seen, reduced = scenario.counts["visual_tokens"], scenario.reducer is not None
    most = int(all_visual_tokens(np.maximum(seen, 1.0), per_sample, reduced=reduced))
    plain_prompt = replace(
        scenario, reducer=None, vision_layers=None, llm_layers=None, stage="prefill"
    )
    some = FIRST_TRIED
    while True:
        counts = {**scenario.counts, "visual_tokens": np.arange(1.0, min(some, most) + 1)}
        parts, whole, _ = Run(replace(plain_prompt, counts=counts)).priced()
        waiting = waiting_tokens(runtime, parts["llm"], whole)
        if waiting is None or waiting < some or some >= most:
            return waiting
        some *= 4


def waiting_tokens(runtime: Runtime | None, llm: Totals, whole: Totals) -> int | None:
    """The same of a prefill at 1, 2, … visual tokens: of its LLM, and end to end."""
    elapsed_s, host_s = whole.elapsed_time_s, llm.host_time_s
    if runtime is None or not runtime.overlaps or elapsed_s is None or host_s is None:
        return None
    waits = (host_s >= llm.kernel_time_s) & (elapsed_s <= (1 + FLAT) * elapsed_s[0])
    ends = np.flatnonzero(~waits)
    return int(ends[0]) if ends.size else len(waits)
