"""The answer as a record: quantities per component, end to end and op by op."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from roofline.device.resources import BOUNDS, Bound
from roofline.engine.scenario import plain
from roofline.model.polynomial import Array
from roofline.units import figures


class Quantities(Struct, frozen=True, eq=False, kw_only=True):
    """What one component, or all of them, need at a stage. Arrays have the scenario's shape.

    SI units throughout: FLOPs (1 MAC = 2 FLOPs), bytes, seconds. docs/glossary.md defines each.
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

    @property
    def peak_memory_bytes(self) -> Array:
        """Weights, KV cache and peak activations."""
        return self.weight_bytes + self.kv_cache_bytes + self.peak_activation_bytes

    @property
    def arithmetic_intensity(self) -> Array:
        """FLOPs per byte of DRAM traffic; 0 where nothing runs."""
        return quotient(self.flops, self.memory_access_bytes)

    @property
    def shown(self) -> tuple[str, ...]:
        """Names in the JSON, in order."""
        return _COUNTED

    @property
    def headline(self) -> tuple[str, ...]:
        """Names of what is looked at first."""
        return ("flops", "memory_access_bytes", "peak_memory_bytes")

    @property
    def headline_text(self) -> str:
        """Those, on one line; of arrays their ranges."""
        return figures({name: getattr(self, name) for name in self.headline})

    def __repr__(self) -> str:
        """What is looked at first."""
        return f"{type(self).__name__}({self.headline_text})"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, or nested lists where the scenario has axes."""
        return {name: plain(getattr(self, name)) for name in self.shown}


class Totals(Quantities, frozen=True, eq=False, kw_only=True):
    """The same on a device: time, what binds it, and whether it fits."""

    roofline_time_s: Array
    """Σ over ops of the time at their slowest resource: no kernel is faster."""
    bound_times_s: Mapping[Bound, Array]
    """Of that, seconds in ops bound by compute, and by what else is not memory."""
    attainable_time_s: Array | None
    """Σ over kernels of what the device's laws say; None for a device without laws.

    On a CPU, which issues what it computes, host time included.
    """
    attainable_error_s: Array | None
    """Σ over kernels of what nine in ten are off their law's time at most, all to one side."""
    host_time_s: Array | None
    """What the host takes beside the kernels, where another processor does, under the runtime, or
    as it was measured on this machine; None where nobody knows.
    """
    elapsed_time_s: Array | None = None
    """Kernels and host together, under the runtime: of components and phases the longer of both
    where the host works ahead, else the sum. None without a runtime: kernels alone.
    """
    elapsed_time_low_s: Array | None = None
    """The same from the low ends of both."""
    elapsed_time_high_s: Array | None = None
    """The same from the high ends of both."""
    energy_j: Array | None = None
    """What the device draws in the predicted time, by its law of energy; None without one."""
    energy_error_j: Array | None = None
    """What nine in ten models are off that at most, and the error of the time at idle power."""
    device_memory_bytes: float
    device_tdp_w: float | None = None
    """Thermal design power; None where nobody states it."""

    @property
    def power_w(self) -> Array | None:
        """Average power over the predicted time; 0 where nothing runs."""
        if self.energy_j is None:
            return None
        return quotient(self.energy_j, self.predicted_time_s)

    @property
    def energy_bound_j(self) -> Array | None:
        """TDP × predicted time: what the device draws at most, if the time is right."""
        return None if self.device_tdp_w is None else self.predicted_time_s * self.device_tdp_w

    @property
    def attainable_time_low_s(self) -> Array | None:
        """Attainable time less its error; no lower than the roofline."""
        time, error = self.attainable_time_s, self.attainable_error_s
        if time is None or error is None:
            return None
        return np.maximum(time - error, np.minimum(time, self.roofline_time_s))

    @property
    def attainable_time_high_s(self) -> Array | None:
        """Attainable time and its error."""
        time, error = self.attainable_time_s, self.attainable_error_s
        return None if time is None or error is None else time + error

    @property
    def kernel_time_s(self) -> Array:
        """Of kernels alone: attainable time, or the roofline of a device without laws."""
        return self.roofline_time_s if self.attainable_time_s is None else self.attainable_time_s

    @property
    def predicted_time_s(self) -> Array:
        """The best that is known: elapsed time under a runtime, else that of kernels alone."""
        return self.kernel_time_s if self.elapsed_time_s is None else self.elapsed_time_s

    @property
    def predicted_time_low_s(self) -> Array | None:
        """The low end of its band; None where no error is known."""
        known = self.elapsed_time_low_s
        return self.attainable_time_low_s if known is None else known

    @property
    def predicted_time_high_s(self) -> Array | None:
        """The high end of its band."""
        known = self.elapsed_time_high_s
        return self.attainable_time_high_s if known is None else known

    @property
    def predicted_error_s(self) -> Array | None:
        """How far the farther end of its band is."""
        low, high = self.predicted_time_low_s, self.predicted_time_high_s
        if low is None or high is None:
            return None
        if self.elapsed_time_s is None:
            return self.attainable_error_s
        return np.maximum(high - self.predicted_time_s, self.predicted_time_s - low)

    @property
    def bound(self) -> NDArray[np.str_]:
        """What the larger share of roofline time waits for; in the JSON null if nothing runs."""
        shares = dict(self.bound_times_s)
        shares["memory"] = self.roofline_time_s - sum(shares.values(), np.zeros(()))
        names = sorted(shares, key=BOUNDS.index)
        largest = np.argmax(np.broadcast_arrays(*(shares[name] for name in names)), axis=0)
        bound: NDArray[np.str_] = np.asarray(names)[largest]
        return bound

    @property
    def fits(self) -> NDArray[np.bool_]:
        """Whether peak memory is within the device's."""
        return self.peak_memory_bytes <= self.device_memory_bytes

    @property
    def shown(self) -> tuple[str, ...]:
        return (*_COUNTED, *_PRICED)

    @property
    def headline(self) -> tuple[str, ...]:
        times: tuple[str, ...] = ("roofline_time_s",)
        for name in ("attainable_time_s", "elapsed_time_s"):
            if getattr(self, name) is not None:
                times = (*times, name)
        return ("flops", "peak_memory_bytes", *times, "bound")

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, or nested lists where the scenario has axes."""
        return super().to_dict() | {"bound": _bound_of_what_runs(self.roofline_time_s, self.bound)}


def _bound_of_what_runs(roofline_time_s: Array, bound: NDArray[np.str_]) -> Any:
    """As plain words; None where nothing runs."""
    runs = np.asarray(roofline_time_s) > 0
    words = np.where(runs, np.asarray(bound, dtype=object), np.full(runs.shape, None))
    return plain(words)


_COUNTED = (*Quantities.__struct_fields__, "peak_memory_bytes", "arithmetic_intensity")
_PRICED = (
    "roofline_time_s",
    "attainable_time_s",
    "attainable_time_low_s",
    "attainable_time_high_s",
    "host_time_s",
    "elapsed_time_s",
    "elapsed_time_low_s",
    "elapsed_time_high_s",
    "energy_j",
    "energy_error_j",
    "power_w",
    "energy_bound_j",
    "bound",
    "fits",
)


class OpQuantities(Struct, frozen=True, eq=False, kw_only=True):
    """One distinct op; figures are totals over its occurrences."""

    component: str
    phase: str
    name: str
    """That of the Hugging Face module, where there is one."""
    layers: str
    """Which layers these are, where not all cost the same."""
    kind: str
    count: Array
    """How often it runs."""
    launches: NDArray[np.int64] | np.int64
    """Kernels that one occurrence issues."""
    flops: Array
    vector_flops: Array
    weight_read_bytes: Array
    activation_read_bytes: Array
    activation_write_bytes: Array
    kv_read_bytes: Array
    kv_write_bytes: Array

    @property
    def memory_access_bytes(self) -> Array:
        """DRAM traffic, all kinds together."""
        reads = self.weight_read_bytes + self.activation_read_bytes
        return reads + self.activation_write_bytes + self.kv_read_bytes + self.kv_write_bytes

    @property
    def arithmetic_intensity(self) -> Array:
        """FLOP/B."""
        return quotient(self.flops, self.memory_access_bytes)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from all others of an estimate."""
        return self.component, self.phase, self.name, self.layers

    @property
    def headline(self) -> tuple[str, ...]:
        """Names of what is looked at first."""
        return ("count", "flops", "memory_access_bytes")

    def __repr__(self) -> str:
        """Which op, and what is looked at first."""
        shown = figures({name: getattr(self, name) for name in self.headline})
        return f"{type(self).__name__}({' '.join(filter(None, self.key))}: {shown})"

    def columns(self) -> dict[str, Any]:
        """By name, as in a table: fields, and what follows from them."""
        names = (*self.__struct_fields__, "memory_access_bytes", "arithmetic_intensity")
        return {name: getattr(self, name) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Fields, and what follows from them."""
        names = (*self.__struct_fields__, "memory_access_bytes", "arithmetic_intensity")
        return {name: plain(getattr(self, name)) for name in names}


class OpTotals(OpQuantities, frozen=True, eq=False, kw_only=True):
    """The same on a device."""

    resource_times_s: dict[str, Array]
    """At each resource: tensor, vector, dram; the slowest of them binds each occurrence."""
    roofline_time_s: Array
    attainable_time_s: Array | None
    attainable_error_s: Array | None
    attainable_origin: str | None
    """Whether the law was measured, fitted or is typical; None without one."""
    bound: NDArray[np.str_]
    """compute, memory, …: what it waits for; in the JSON null if it does not run."""

    @property
    def headline(self) -> tuple[str, ...]:
        attainable = () if self.attainable_time_s is None else ("attainable_time_s",)
        return (*super().headline, "roofline_time_s", *attainable, "bound")

    def columns(self) -> dict[str, Any]:
        """Likewise; `tensor_time_s` and the like of its resources."""
        found = super().columns()
        times: dict[str, Array] = found.pop("resource_times_s")
        return found | {f"{name}_time_s": time for name, time in times.items()}

    def to_dict(self) -> dict[str, Any]:
        """Fields, and what follows from them."""
        times = {name: plain(time) for name, time in self.resource_times_s.items()}
        bound = _bound_of_what_runs(self.roofline_time_s, self.bound)
        return super().to_dict() | {"resource_times_s": times, "bound": bound}


class ReducerFacts(Struct, frozen=True):
    """The reducer of an estimate."""

    name: str
    label: str
    """With the options that were chosen."""
    site: str
    """Where it acts: features, vision or llm."""
    default_visual_tokens: int
    """Of a sample, that it leaves where no count is asked for."""
    default_source: str
    cost: str
    """Where its own work is from: `stated` by its file, `traced` from its code, or `none`."""
    settles_count: bool
    """Whether its options say how many are left here, whatever is usual."""


def quotient(amount: Array, divisor: Array) -> Array:
    """Amount / divisor; 0 where there is nothing to divide by."""
    amount, divisor = np.broadcast_arrays(amount, divisor)
    result: Array = np.zeros(divisor.shape)
    return np.divide(amount, divisor, out=result, where=divisor > 0)[()]
