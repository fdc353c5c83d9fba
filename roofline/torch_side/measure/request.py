"""What a profile is asked for, and what the analysis says of it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from roofline.engine.axes import BY_NAME
from roofline.engine.estimate import Counts
from roofline.engine.scenario import Scenario
from roofline.errors import InputError, ScenarioError, UnsupportedModeError
from roofline.records.measurement import priced_attention
from roofline.specs.catalog import load_quantization
from roofline.specs.models import Lmm
from roofline.torch_side.load import ATTENTION_KERNELS, DTYPES, SEED, checked_device


class Request(Struct, frozen=True, kw_only=True):
    """What to run, and how long to measure."""

    scenario: Scenario
    """Without `visual_tokens` where the model or the reducer decides; with hardware if a spec to
    compare with was named."""
    device: str
    mode: str = "eager"
    attention: str = "sdpa"
    checkpoint: str | None = None
    image: str | None = None
    per_op: bool = False
    cap_s: float = 30.0
    """Longest time for samples."""
    relative_ci: float = 0.005
    """How well the median is to be known."""
    seed: int = SEED

    @classmethod
    def of(
        cls,
        *,
        device: str | None = None,
        attention: str = "sdpa",
        mode: str = "eager",
        per_op: bool = False,
        **options: Any,
    ) -> Request:
        """Check, and fill in the defaults of this machine.

        device: left out, an accelerator if there is one. quant: left out, fp32 on a CPU and fp16
        elsewhere. Further keywords are axes of the scenario, and fields.
        Raises InputError for what does not go together, before anything is loaded.
        """
        if attention not in ATTENTION_KERNELS:
            known = ", ".join(ATTENTION_KERNELS)
            raise UnsupportedModeError(f"unknown attention {attention!r}: choose one of {known}")
        if per_op and mode != "eager":
            raise UnsupportedModeError(
                f"single ops can be told apart in mode eager only, not in {mode}"
            )
        axes = {name: options.pop(name) for name in list(options) if name in BY_NAME}
        torch_device = checked_device(device)
        axes["quant"] = axes.get("quant") or ("fp32" if torch_device.type == "cpu" else "fp16")
        scenario = Scenario.of(**axes, attention=priced_attention(attention))
        if not isinstance(scenario.model, Lmm):
            name = scenario.model.name
            raise ScenarioError(f"{name} is no LMM: profile one, such as llava-1.5-7b")
        if scenario.counts.get("visual_tokens") == 0:
            raise ScenarioError("a run has an image: give visual tokens, 1 or more")
        if scenario.stage == "generate" and not int(scenario.counts["output_tokens"]):
            raise ScenarioError("the stage generate needs output tokens, 1 or more")
        Counts.of(replace(scenario, hardware=None))  # refuses what a reducer cannot leave
        return cls(
            scenario=scenario,
            device=str(torch_device),
            mode=mode,
            attention=attention,
            per_op=per_op,
            **options,
        )

    @property
    def spec(self) -> Lmm:
        """The model."""
        model = self.scenario.model
        assert isinstance(model, Lmm)
        return model

    @property
    def visual_tokens(self) -> int | None:
        """As asked; None where the model or the reducer decides."""
        visual = self.scenario.counts.get("visual_tokens")
        return None if visual is None else int(visual)

    def count(self, name: str) -> int:
        """What was asked on an axis of counts."""
        return int(self.scenario.counts[name])

    def with_scenario(self, **changes: Any) -> Request:
        """The same with other values of the scenario's fields."""
        return replace(self, scenario=replace(self.scenario, **changes))

    def with_counts(self, **counts: int) -> Request:
        """The same with other counts."""
        return replace(self, scenario=self.scenario.with_counts(**counts))

    def peak_memory_bytes(self) -> float | None:
        """What it needs of any device, loading included; None where nobody counts it.

        Weights that are quantized here are loaded in 16 bit before.
        """
        scenario = self.scenario
        wide = scenario.quant if scenario.quant.name in DTYPES else load_quantization("bf16")
        try:
            running = Counts.of(scenario).end_to_end.peak_memory_bytes
            loading = Counts.of(replace(scenario, quant=wide)).end_to_end.weight_bytes
        except InputError:
            return None
        return float(max(running, loading))
