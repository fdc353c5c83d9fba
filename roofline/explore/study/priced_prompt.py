"""One row of a study: a prompt on a device, as it is and as an answer grows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from roofline.engine.result import Estimate, Totals
from roofline.model.polynomial import Array


class PricedPrompt(Struct, frozen=True, dict=True, eq=False, kw_only=True):
    """A model, device, precision, number of visual tokens and reducer, priced."""

    estimate: Estimate
    """The prefill; figures are 0-d."""
    generate: Callable[[], Estimate] | None
    """Estimates `generation`; None for a model without an LLM."""
    whole: PricedPrompt | None
    """The same with all visual tokens; None if the model does not tell how many those are, and in
    the prompt that has them all."""

    @property
    def model(self) -> str:
        return str(self.estimate.inputs["model"])

    @property
    def hardware(self) -> str:
        return str(self.estimate.inputs["hardware"])

    @property
    def quant(self) -> str:
        return str(self.estimate.inputs["quant"])

    @property
    def visual_tokens(self) -> int:
        """Of a sequence, as they reach the LLM."""
        return int(self.estimate.inputs["visual_tokens"])

    @property
    def reducer(self) -> str | None:
        """None where visual tokens are fewer without anybody's work, or not fewer at all."""
        reducer = self.estimate.work.reducer
        return None if reducer is None else reducer.label

    @property
    def has_laws(self) -> bool:
        """Whether its device tells attainable times; else all times are bounds."""
        return self.estimate.end_to_end.attainable_time_s is not None

    @property
    def time_s(self) -> float:
        """Of the prefill, end to end: see `predicted_time_s`."""
        return float(predicted_time_s(self.estimate.end_to_end))

    @property
    def speedup(self) -> float | None:
        """Of the prefill, end to end, over all visual tokens; None without those."""
        return None if self.whole is None else self.whole.time_s / self.time_s

    @property
    def reducer_share(self) -> float | None:
        """Share of the time saved that the reducer itself takes; None without either."""
        own = self.estimate.components.get("reducer")
        if own is None or self.whole is None:
            return None
        own_s = float(predicted_time_s(own))
        saved_s = self.whole.time_s - (self.time_s - own_s)
        return own_s / saved_s if saved_s > 0 else None

    @cached_property
    def ops(self) -> list[dict[str, Any]]:
        """The prefill's `op_table`, computed once."""
        return self.estimate.op_table()

    @property
    def fits(self) -> bool:
        """Whether prompt and weights fit into the device's memory."""
        return bool(self.estimate.end_to_end.fits)

    @cached_property
    def sequences_that_fit(self) -> int:
        """The largest batch of such prompts for which the device has the memory."""
        fitting, beyond = 0, 1
        while self._fits_with(beyond):
            fitting, beyond = beyond, 2 * beyond
        while beyond - fitting > 1:
            middle = (fitting + beyond) // 2
            fitting, beyond = (middle, beyond) if self._fits_with(middle) else (fitting, middle)
        return fitting

    def _fits_with(self, batch: int) -> bool:
        room = self.estimate.end_to_end.device_memory_bytes
        return float(self.estimate.peak_memory_at(batch)) <= room

    @property
    def energy_at_tdp_j(self) -> float | None:
        """Prefill time × TDP: what it takes at most, if the time is right; None without a TDP."""
        tdp_w = self.estimate.hardware.tdp_w
        return None if tdp_w is None else self.time_s * tdp_w.value

    @cached_property
    def generation(self) -> Estimate | None:
        """Prompt and answers of 0, …, output tokens; figures have the shape of `output_tokens`."""
        return self.generate and self.generate()

    @property
    def output_tokens(self) -> NDArray[np.float64]:
        """Lengths of the answers of `generation`, from 0; empty without it."""
        return np.zeros(0) if self.generation is None else self.generation.scenario.output_tokens

    @property
    def answer_memory_bytes(self) -> float:
        """At its peak, when the longest answer has been written; of the prompt without one."""
        whole = (self.generation or self.estimate).end_to_end
        return float(np.max(whole.peak_memory_bytes))

    @property
    def answer_fits(self) -> bool:
        """Whether the longest answer, too, fits into the device's memory."""
        return self.answer_memory_bytes <= self.estimate.end_to_end.device_memory_bytes

    @cached_property
    def generation_time_s(self) -> NDArray[np.float64]:
        """Of prompt and answer, end to end; shape of `output_tokens`."""
        if self.generation is None:
            return np.zeros(0)
        return np.asarray(predicted_time_s(self.generation.end_to_end))

    @cached_property
    def decode_time_s(self) -> NDArray[np.float64]:
        """One step, on average between one length of the answer and the next; one fewer of them."""
        return np.diff(self.generation_time_s) / np.diff(self.output_tokens)


def predicted_time_s(part: Totals) -> Array:
    """What the device's laws expect, where there are any, or else the bound."""
    return part.time_s if part.attainable_time_s is None else part.attainable_time_s
