"""One row of a study: a prompt on a device, as it is and as an answer grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from roofline.engine.compare import Saving, reducer_share, saving
from roofline.engine.estimate import Counts, Estimate
from roofline.engine.result import OpTotals, Quantities
from roofline.engine.scenario import MOST
from roofline.specs.hardware import Hardware

_BATCHES = 33
"""That are tried at a time."""


class Answer(Struct, frozen=True, kw_only=True):
    """A prompt and what was written after it, by the predicted times."""

    output_tokens: int
    predicted_time_s: float
    """Of prompt and answer, end to end."""
    last_step_s: float
    peak_memory_bytes: float
    """When all has been written."""
    fits: bool
    """Whether that is within the device's memory."""
    saving: Saving | None
    """Against all visual tokens; None without those."""


class PricedPrompt(Struct, frozen=True, dict=True, eq=False, kw_only=True):
    """A model, device, precision, number of visual tokens and reducer, priced."""

    estimate: Estimate
    """The prefill; figures are 0-d."""
    generate: Callable[[], Estimate] | None
    """Estimates `generation`; None for a model without an LLM."""
    unreduced: PricedPrompt | None
    """The same with all visual tokens; None if the model does not tell how many those are, and in
    the prompt that has them all."""

    @property
    def model(self) -> str:
        return str(self.estimate.inputs["model"])

    @property
    def hardware(self) -> str:
        return str(self.estimate.inputs["hardware"])

    @property
    def device(self) -> Hardware:
        """The spec of that."""
        hardware = self.estimate.scenario.hardware
        assert hardware is not None
        return hardware

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
        reducer = self.estimate.reducer
        return None if reducer is None else reducer.label

    @property
    def has_laws(self) -> bool:
        """Whether its times are more than bounds: its device has laws, or a runtime is named."""
        whole = self.estimate.end_to_end
        return whole.predicted_time_s is not whole.roofline_time_s

    @property
    def predicted_time_s(self) -> float:
        """Of the prefill, end to end: elapsed under a runtime, else attainable, or the roofline."""
        return float(self.estimate.end_to_end.predicted_time_s)

    @cached_property
    def saving(self) -> Saving | None:
        """Of the prefill, end to end, against all visual tokens; None without those."""
        if self.unreduced is None:
            return None
        return saving(self.unreduced.estimate.end_to_end, self.estimate.end_to_end)

    @property
    def speedup(self) -> float | None:
        """The headline of that."""
        if self.saving is None:
            return None
        assert self.saving.speedup is not None  # both are priced on a device
        return float(self.saving.speedup)

    @property
    def tie(self) -> bool:
        """Whether that is inside the error band."""
        return self.saving is not None and bool(self.saving.tie)

    @property
    def reducer_share(self) -> float | None:
        """Share of the time saved that the reducer itself takes; None without either."""
        if self.unreduced is None:
            return None
        share = reducer_share(
            self.unreduced.estimate.end_to_end, self.estimate.components, self.estimate.end_to_end
        )
        return None if share is None or not np.isfinite(share) else float(share)

    @property
    def ops(self) -> Sequence[OpTotals]:
        """Of the prefill."""
        return self.estimate.ops

    @property
    def fits(self) -> bool:
        """Whether prompt and weights fit into the device's memory."""
        return bool(self.estimate.end_to_end.fits)

    def in_batch(self, batch: ArrayLike) -> Quantities:
        """What a batch of such prompts needs, end to end."""
        return Counts.of(self.estimate.scenario.with_counts(batch=batch)).end_to_end

    @cached_property
    def sequences_that_fit(self) -> int:
        """The largest batch of such prompts for which the device has the memory."""
        fitting, beyond = 0, MOST + 1
        while beyond - fitting > 1:  # a few dozen batches at a time: each is hardly dearer than one
            batches = np.unique(np.geomspace(max(fitting, 1), beyond - 1, _BATCHES).round())
            batches = batches[(batches > fitting) & (batches < beyond)]
            needed = self.in_batch(batches).peak_memory_bytes
            fits = needed <= self.estimate.device["memory_bytes"]
            most = int(np.count_nonzero(fits))
            if most < len(batches):
                beyond = int(batches[most])
            if most:
                fitting = int(batches[most - 1])
        return fitting

    @property
    def energy_j(self) -> float | None:
        """Of the prefill, by the device's law of energy; None without one."""
        energy_j = self.estimate.end_to_end.energy_j
        return None if energy_j is None else float(energy_j)

    @property
    def energy_bound_j(self) -> float | None:
        """Prefill time × TDP: what it takes at most, if the time is right; None without a TDP."""
        tdp_w = self.device.tdp_w
        return None if tdp_w is None else self.predicted_time_s * tdp_w.value

    @cached_property
    def generation(self) -> Estimate | None:
        """Prompt and answers of 0, …, output tokens; figures have the shape of `output_tokens`."""
        return self.generate and self.generate()

    @property
    def output_tokens(self) -> NDArray[np.float64]:
        """Lengths of the answers of `generation`, from 0; empty without it."""
        if self.generation is None:
            return np.zeros(0)
        return self.generation.scenario.counts["output_tokens"]

    def answer(self, length: int | None = None) -> Answer | None:
        """The answer of one of the lengths asked, by default the longest; None without an LLM."""
        if self.generation is None:
            return None
        lengths = self.output_tokens
        i = len(lengths) - 1 if length is None else int(np.searchsorted(lengths, length))
        whole = self.generation.end_to_end
        return Answer(
            output_tokens=int(lengths[i]),
            predicted_time_s=float(self.generation_time_s[i]),
            last_step_s=float(self.decode_time_s[i - 1]),
            peak_memory_bytes=float(np.broadcast_to(whole.peak_memory_bytes, lengths.shape)[i]),
            fits=bool(np.broadcast_to(whole.fits, lengths.shape)[i]),
            saving=None if self.answer_saving is None else self.answer_saving.at(i),
        )

    @cached_property
    def generation_time_s(self) -> NDArray[np.float64]:
        """Of prompt and answer, end to end; shape of `output_tokens`."""
        if self.generation is None:
            return np.zeros(0)
        return np.asarray(self.generation.end_to_end.predicted_time_s)

    @cached_property
    def answer_saving(self) -> Saving | None:
        """Of prompt and answer, at every length, against all visual tokens; None without those."""
        if self.unreduced is None or self.unreduced.generation is None or self.generation is None:
            return None
        return saving(self.unreduced.generation.end_to_end, self.generation.end_to_end)

    @cached_property
    def decode_time_s(self) -> NDArray[np.float64]:
        """One step, on average between one length of the answer and the next; one fewer of them."""
        return np.diff(self.generation_time_s) / np.diff(self.output_tokens)
