"""The answer: totals per component, end to end and op by op, for one configuration or many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from roofline.engine.layout import Layout
from roofline.engine.price import Plan, Prompt, over_steps
from roofline.engine.scenario import Scenario
from roofline.model.counted import AMOUNTS
from roofline.model.polynomial import Array, Polynomial
from roofline.specs.hardware import Hardware

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = (
    "flops",
    "vector_flops",
    "memory_access_bytes",
    "activation_store_bytes",
    "weight_bytes",
    "kv_cache_bytes",
    "peak_activation_bytes",
    "peak_memory_bytes",
    "time_s",
    "attainable_time_s",
    "attainable_time_low_s",
    "attainable_time_high_s",
    "host_time_s",
    "arithmetic_intensity",
    "bound",
    "fits",
)
"""Names in the JSON and attributes of `Totals`, in the order they are shown."""


class Totals(Struct, frozen=True, eq=False):
    """What one component, or all of them, cost at a stage. Arrays have the scenario's shape.

    SI units throughout: FLOPs (1 MAC = 2 FLOPs), bytes, seconds. docs/accounting.md defines each.
    """

    flops: Array
    """Matmul-class FLOPs, attention dense: what PyTorch's FlopCounterMode counts."""
    vector_flops: Array
    """Norms, softmax, activations, residuals, rotary positions."""
    memory_access_bytes: Array
    """DRAM traffic: weights, activations and KV read, activations and KV written."""
    activation_store_bytes: Array
    """Activations written."""
    weight_bytes: Array
    """Resident weights, embedding, lm_head and quantization scales included."""
    kv_cache_bytes: Array
    """Resident KV cache at the end of the stage."""
    peak_activation_bytes: Array
    """Largest sum of activation tensors alive at once."""
    time_s: Array
    """Σ over ops of max(compute time, memory time): no kernel is faster."""
    compute_bound_time_s: Array
    """The part of `time_s` in ops that are bound by compute."""
    attainable_time_s: Array | None
    """Σ over kernels of what the device's laws say; None for a device without laws.

    On a CPU, which issues what it computes, with the framework's own time.
    """
    attainable_error_s: Array | None
    """Σ over kernels of what nine in ten are off their law's time at most, all to one side."""
    host_time_s: Array | None
    """What the framework takes to issue the kernels, where another processor does."""
    device_memory_bytes: float

    @property
    def peak_memory_bytes(self) -> Array:
        """Weights, KV cache and peak activations."""
        return self.weight_bytes + self.kv_cache_bytes + self.peak_activation_bytes

    @property
    def arithmetic_intensity(self) -> Array:
        """FLOPs per byte of DRAM traffic; 0 where nothing runs."""
        return _per_byte(self.flops, self.memory_access_bytes)

    @property
    def attainable_time_low_s(self) -> Array | None:
        """Attainable time less its error; no lower than the bound."""
        time, error = self.attainable_time_s, self.attainable_error_s
        if time is None or error is None:
            return None
        return np.maximum(time - error, np.minimum(time, self.time_s))

    @property
    def attainable_time_high_s(self) -> Array | None:
        """Attainable time and its error."""
        time, error = self.attainable_time_s, self.attainable_error_s
        return None if time is None or error is None else time + error

    @property
    def eager_time_s(self) -> Array | None:
        """Attainable time where the host issues kernel after kernel: the slower of the two."""
        if self.attainable_time_s is None or self.host_time_s is None:
            return None
        return np.maximum(self.attainable_time_s, self.host_time_s)

    @property
    def bound(self) -> NDArray[np.str_]:
        """`compute` or `memory`, by the larger share of time; in the JSON null if nothing runs."""
        return np.where(2 * self.compute_bound_time_s >= self.time_s, "compute", "memory")[()]

    @property
    def fits(self) -> NDArray[np.bool_]:
        """Whether peak memory is within the device's."""
        return self.peak_memory_bytes <= self.device_memory_bytes

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, or nested lists where the scenario has axes."""
        figures = {name: plain(getattr(self, name)) for name in QUANTITIES}
        runs = np.asarray(self.time_s) > 0
        bound = np.where(runs, np.asarray(self.bound, dtype=object), np.full(runs.shape, None))
        return figures | {"bound": plain(bound)}


class Estimate(Totals, frozen=True, eq=False, dict=True):
    """The LLM's totals (those of a vision encoder analyzed alone), and everything around them."""

    inputs: dict[str, Any]
    """What was asked, defaults filled in."""
    device: dict[str, Any]
    """The device's figures that the estimate rests on, and which peak each unit ran at."""
    components: dict[str, Totals]
    """Vision, connector, llm: those that the model has and the accounting knows."""
    end_to_end: Totals
    hardware: Hardware
    scenario: Scenario
    plans: Sequence[Plan]
    prompt: Prompt
    work: Layout
    reanalyze: Callable[[], Estimate | None]

    @cached_property
    def unreduced(self) -> Estimate | None:
        """The same with all visual tokens of the images; None if the model does not tell."""
        return self.reanalyze()

    @property
    def totals(self) -> Totals:
        """The same figures apart from all else, as the JSON has them."""
        return self.components[self.work.main]

    @cached_property
    def saving(self) -> dict[str, Array] | None:
        """Unreduced / reduced: FLOPs, traffic, peak memory, time; None without `unreduced`."""
        full = self.unreduced
        if full is None:
            return None
        names = ("flops", "memory_access_bytes", "peak_memory_bytes", "time_s")
        return {name: getattr(full, name) / getattr(self, name) for name in names}

    @property
    def end_to_end_speedup(self) -> Array | None:
        """Unreduced / reduced time, all components together; None without `unreduced`."""
        full = self.unreduced
        return None if full is None else full.end_to_end.time_s / self.end_to_end.time_s

    @cached_property
    def reducer_share(self) -> Array | None:
        """Share of the time saved end to end that the reducer itself takes; None without one."""
        own, full = self.components.get("reducer"), self.unreduced
        if own is None or full is None:
            return None
        saved = full.end_to_end.time_s - (self.end_to_end.time_s - own.time_s)
        share: Array = np.full(np.shape(saved), np.inf)
        return np.divide(own.time_s, saved, out=share, where=saved > 0)[()]

    def peak_memory_at(self, batch: ArrayLike) -> Array:
        """End to end, in bytes, were there so many sequences; shapes broadcast."""
        visual, text, _, steps = self.scenario.axes
        point = self.prompt.point(visual, text, np.asarray(batch, dtype=np.float64), steps)
        caches, peaks = zip(*(plan.memory(point) for plan in self.plans), strict=True)
        total: Array = sum(caches, np.zeros(())) + np.max(np.broadcast_arrays(*peaks), axis=0)
        return total + sum(plan.cost.weight_bytes for plan in self.plans)

    @property
    def default_tokens(self) -> int | None:
        """Visual tokens that the reducer usually leaves of one image; None without a reducer."""
        reducer, task = self.work.reducer, self.work.task
        if reducer is None or task is None:
            return None
        return reducer.default_kept(task.patches, task.blocks)

    def _reducer_dict(self) -> dict[str, Any] | None:
        """What the reducer is, what it leaves, and what it takes of the saving."""
        if self.work.reducer is None:
            return None
        reducer = self.work.reducer
        return {
            "name": reducer.label,
            "place": reducer.site,
            "default_tokens_per_image": self.default_tokens,
            "default_tokens_source": reducer.default_source,
            "end_to_end_speedup": plain(self.end_to_end_speedup),
            "share_of_saving": plain(self.reducer_share),
        }

    def op_table(self) -> list[dict[str, Any]]:
        """One mapping per distinct op; figures are totals over its `count` occurrences."""
        return [dict(row) for row in self._ops]

    @cached_property
    def _ops(self) -> list[dict[str, Any]]:
        point = self.prompt.point(*self.scenario.axes)
        steps = point.values["steps"]
        nothing = Polynomial({})
        rows = []
        for plan in self.plans:
            for row in plan.cost.rows:
                decodes = row.phase == "decode"

                def over_all(amount: Polynomial, row: Any = row, decodes: bool = decodes) -> Array:
                    scaled = amount * row.count
                    return over_steps(point, *((nothing, scaled) if decodes else (scaled, nothing)))

                kernel = plan.kernel(row)
                time, compute_bound, attainable = kernel.time(point)
                law = plan.laws.law(row) if plan.laws else None
                amounts = {name: over_all(getattr(row.amounts, name)) for name in AMOUNTS}
                moved = over_all(row.traffic)
                rows.append(
                    {
                        "component": plan.cost.component,
                        "phase": row.phase,
                        "name": row.name,
                        "layers": row.layers,
                        "kind": row.kind,
                        "count": row.count * steps if decodes else np.float64(row.count),
                        **amounts,
                        "memory_access_bytes": moved,
                        "arithmetic_intensity": _per_byte(amounts["flops"], moved),
                        "time_s": time,
                        "attainable_time_s": attainable if plan.laws else None,
                        "attainable_error_s": kernel.error * attainable if plan.laws else None,
                        "attainable_origin": law.origin if law else None,
                        "bound": np.where(2 * compute_bound >= time, "compute", "memory")[()],
                    }
                )
        return rows

    @property
    def ops(self) -> pd.DataFrame:
        """`op_table` as a frame; with axes, one row per op and configuration, axes as columns."""
        import pandas as pd

        shape = self.scenario.shape
        names = ("visual_tokens", "text_tokens", "batch", "output_tokens")
        axes = {n: np.broadcast_to(getattr(self.scenario, n), shape).ravel() for n in names}
        frames = []
        for row in self.op_table():
            columns = {n: np.broadcast_to(value, shape).ravel() for n, value in row.items()}
            frames.append(pd.DataFrame(axes | columns if shape else columns))
        frame = pd.concat(frames, ignore_index=True)
        return frame.astype({"count": int})

    def to_dict(self, *, per_op: bool = False) -> dict[str, Any]:
        """The JSON document."""
        saving = self.saving
        document: dict[str, Any] = {
            "inputs": self.inputs,
            "device": self.device,
            "totals": Totals.to_dict(self),
            "components": {name: part.to_dict() for name, part in self.components.items()},
            "end_to_end": self.end_to_end.to_dict(),
            "unreduced": None if self.unreduced is None else Totals.to_dict(self.unreduced),
            "saving": None if saving is None else {k: plain(v) for k, v in saving.items()},
            "reducer": self._reducer_dict(),
        }
        if per_op:
            document["ops"] = [
                {name: plain(value) for name, value in row.items()} for row in self.op_table()
            ]
        return document


def _per_byte(flops: Array, moved: Array) -> Array:
    """FLOP/B; 0 where nothing is moved."""
    flops, moved = np.broadcast_arrays(flops, moved)
    intensity: Array = np.zeros(moved.shape)
    return np.divide(flops, moved, out=intensity, where=moved > 0)[()]


def plain(value: Any) -> Any:
    """NumPy → JSON: arrays to lists, whole floats to ints, what is not finite to null."""
    if isinstance(value, np.ndarray) and value.ndim:
        return [plain(item) for item in value]
    item = value.item() if isinstance(value, np.generic | np.ndarray) else value
    if isinstance(item, str):
        return str(item)  # NumPy's own are strings to `json` alone
    if isinstance(item, float):
        if not math.isfinite(item):
            return None
        return int(item) if item.is_integer() else item
    return item
