"""What a profile is asked for, and what the analysis says of it."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from roofline.engine.analysis import analyze
from roofline.engine.result import Estimate
from roofline.engine.scenario import DEFAULT_TEXT_TOKENS
from roofline.errors import InputError, ScenarioError, UnsupportedModeError
from roofline.specs.catalog import load_model
from roofline.specs.hardware import Hardware
from roofline.specs.models import Lmm
from roofline.torch_side.load import DTYPES, SEED

STAGES = ("prefill", "decode", "generate")
ATTENTIONS = {"sdpa": "sdpa", "flash": "flash_attention_2", "eager": "eager"}
"""Names on the command line → in transformers."""


class Request(Struct, frozen=True, kw_only=True):
    """What to run, and how long to measure."""

    model: str | Lmm
    reducer: str | None = None
    visual_tokens: int | None = None
    text_tokens: int = DEFAULT_TEXT_TOKENS
    batch: int = 1
    output_tokens: int = 0
    stage: str = "prefill"
    quant: str | None = None
    """Left out, fp32 on a CPU and fp16 elsewhere."""
    checkpoint: str | None = None
    image: str | None = None
    device: str | None = None
    """Left out, an accelerator if there is one."""
    mode: str = "eager"
    attention: str = "sdpa"
    hardware: str | Hardware | None = None
    """Left out, what the catalog has under the device's own name."""
    per_op: bool = False
    cap_s: float = 30.0
    """Longest time for samples."""
    relative_ci: float = 0.005
    """How well the median is to be known."""
    seed: int = SEED

    @property
    def spec(self) -> Lmm:
        """The model. Raises UnknownNameError, SpecError, ScenarioError."""
        spec = load_model(self.model)
        if not isinstance(spec, Lmm):
            raise ScenarioError(f"{spec.name} is no LMM: profile one, such as llava-1.5-7b")
        return spec

    def check(self) -> None:
        """Raise InputError for what does not go together, before anything is loaded."""
        for name, value, known in (
            ("stage", self.stage, STAGES),
            ("attention", self.attention, ATTENTIONS),
        ):
            if value not in known:
                raise UnsupportedModeError(
                    f"unknown {name} {value!r}: choose one of {', '.join(known)}"
                )
        if self.stage == "generate" and self.output_tokens < 1:
            raise ScenarioError("the stage generate needs output tokens, 1 or more")
        if self.per_op and self.mode != "eager":
            raise UnsupportedModeError(
                f"single ops can be told apart in mode eager only, not in {self.mode}"
            )

    def estimate(self, hardware: str | Hardware) -> Estimate:
        """The analysis of the same run. Raises InputError for what it cannot price."""
        return analyze(
            self.spec,
            hardware,
            self.quant or "fp16",
            visual_tokens=self.visual_tokens,
            text_tokens=self.text_tokens,
            batch=self.batch,
            stage=self.stage,
            output_tokens=self.output_tokens if self.stage == "generate" else 0,
            attention="eager" if self.attention == "eager" else "flash",
            reducer=self.reducer,
        )

    def peak_memory_bytes(self) -> float | None:
        """What it needs of any device, loading included; None where nobody prices it.

        Weights that are quantized here are loaded in 16 bit before.
        """
        wide = self if self.quant in DTYPES else replace(self, quant="bf16")
        try:
            running = self.estimate(ANY_DEVICE).end_to_end.peak_memory_bytes
            loading = wide.estimate(ANY_DEVICE).end_to_end.weight_bytes
        except InputError:
            return None
        return float(max(running, loading))


ANY_DEVICE = "h100-sxm"
"""For counts, which depend on no device."""
