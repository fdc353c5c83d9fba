"""What the tools share: tables of measured kernels, and what laws say of them.

A family of kernels is read from its tables, split into those of one kernel (a data type) and one
library, and predicted by the functions that users call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from msgspec.structs import replace
from numpy.typing import NDArray

import roofline
from roofline.device.kernel_times import KernelTime
from roofline.fitting.collective import ELEMENT_BYTES
from roofline.fitting.fitters import FITTERS
from roofline.fitting.rows import by_library
from roofline.fitting.tables import by_family, read_table
from roofline.model.polynomial import Array
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import Law

VIDUR = "llama2_7b_layer_a100_80gb.csv"
"""A layer of Llama-2-7B on an A100, op by op."""
HIDDEN, INNER = 4096, 11008
"""Its widths."""
UNGATED = (1856, 2688)
"""`inter_size` of experts without a gate in the table, which does not say: at three matrices each
they would beat the DRAM's bandwidth by a third, at two they do not."""

ONE_IN = 4
"""One shape in so many is held out."""


LIBRARIES = {"a100-80gb": {"decode_attention": "vllm"}}
"""Libraries that laws are fitted to, where that is not a table's first: vLLM has most rows of
an A100's decode, and serves most models there."""


class MeasuredKernels(NamedTuple):
    """Kernels of one family of laws, and where they were measured."""

    files: tuple[str, ...]
    """Of several, the first says which library laws are fitted to."""
    shape: tuple[str, ...]
    """Columns that make a shape, which is held out as a whole."""
    size: str
    """Column that says how large a kernel is."""
    time: Callable[[Hardware, str, dict[str, Array]], KernelTime]
    """What users get for a kernel by its name and columns."""


def _matmul(hardware: Hardware, kernel: str, sizes: dict[str, Array]) -> KernelTime:
    name: Any = kernel
    return roofline.matmul_time(hardware, sizes["m"], sizes["n"], sizes["k"], name)


def _attention(hardware: Hardware, kernel: str, sizes: dict[str, Array]) -> KernelTime:
    return _any_attention(hardware, kernel, sizes, sizes["tokens"])


def _decode(hardware: Hardware, kernel: str, sizes: dict[str, Array]) -> KernelTime:
    ones = np.ones(sizes["keys"].size)
    return _any_attention(hardware, kernel, sizes, ones, keys=sizes["keys"])


def _encoder(hardware: Hardware, kernel: str, sizes: dict[str, Array]) -> KernelTime:
    heads = sizes["num_heads"]
    own = {**sizes, "num_key_value_heads": heads}
    return _any_attention(hardware, kernel, own, sizes["tokens"], causal=False)


def _any_attention(
    hardware: Hardware, kernel: str, sizes: dict[str, Array], tokens: Array, **how: Any
) -> KernelTime:
    data_type, _, cache = kernel.removesuffix("kv").partition("-")
    names = ("num_heads", "num_key_value_heads", "head_dim")
    batch, heads, kv_heads, head_dim = (sizes[name] for name in ("batch_size", *names))
    how |= {"dtype": data_type, "kv_dtype": cache or None}
    return roofline.attention_time(hardware, batch, tokens, heads, kv_heads, head_dim, **how)


def _moe(hardware: Hardware, kernel: str, sizes: dict[str, Array]) -> KernelTime:
    inner = sizes["inter_size"] / sizes["moe_tp_size"]
    shape = sizes["num_tokens"], sizes["hidden_size"], inner, sizes["num_experts"], sizes["topk"]
    name: Any = kernel
    gated, plain = (roofline.moe_time(hardware, *shape, name, gated=gate) for gate in (True, False))
    return _mixed(sizes["gated"] == 0, gated, plain)


def _collective(hardware: Hardware, kernel: str, sizes: dict[str, Array]) -> KernelTime:
    width, devices = sizes["element_bytes"], sizes["num_gpus"]
    moved = sizes["message_size"] * width
    wide = roofline.collective_time(hardware, kernel, devices, moved, "bf16")
    narrow = roofline.collective_time(hardware, kernel, devices, moved, "int8")
    return _mixed(width == 1, wide, narrow)


def _mixed(second: NDArray[np.bool_], one: KernelTime, other: KernelTime) -> KernelTime:
    """The times of one kernel, of the second where that is marked."""
    attainable = one.attainable_time_s, other.attainable_time_s
    mixed = None
    if attainable[0] is not None and attainable[1] is not None:
        mixed = np.where(second, attainable[1], attainable[0])
    bound = np.where(second, other.roofline_time_s, one.roofline_time_s)
    return replace(one, roofline_time_s=bound, attainable_time_s=mixed)


FAMILIES: dict[str, MeasuredKernels] = {
    "matmul": MeasuredKernels(
        ("gemm.parquet", "gemm_more.parquet", VIDUR, "gemm_v100_t4.csv"), ("n", "k"), "m", _matmul
    ),
    "attention": MeasuredKernels(
        ("attention_prefill.parquet", "attention_prefill_more.parquet"),
        ("tokens", "num_heads"),
        "tokens",
        _attention,
    ),
    "decode_attention": MeasuredKernels(
        ("attention_decode.parquet",), ("keys", "num_heads"), "keys", _decode
    ),
    "encoder_attention": MeasuredKernels(
        ("attention_encoder.parquet",), ("tokens", "num_heads"), "tokens", _encoder
    ),
    "moe": MeasuredKernels(
        ("moe.parquet",),
        ("hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size"),
        "num_tokens",
        _moe,
    ),
    "collective": MeasuredKernels(
        ("collectives.parquet",), ("num_gpus", "message_size"), "message_size", _collective
    ),
}


class MeasuredKernel(NamedTuple):
    """Rows of one kernel on one device."""

    family: str
    kernel: str
    rows: pd.DataFrame

    @property
    def seconds(self) -> Array:
        return self.column("time_ms") / 1e3

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Rows of a quarter of the shapes, by a hash; another than that by which a fit keeps some
        out, so that the fit to the rest still knows its own error.
        """
        shapes = zip(*(self.column(name) for name in FAMILIES[self.family].shape), strict=True)
        return np.array([_hash(shape) % ONE_IN == 0 for shape in shapes])

    @property
    def columns(self) -> dict[str, Any]:
        """As a fit takes them."""
        return {str(name): self.rows[name].to_numpy() for name in self.rows}

    def column(self, name: str) -> Array:
        return np.asarray(self.rows[name], dtype=np.float64)

    def where(self, mask: NDArray[np.bool_]) -> MeasuredKernel:
        return self._replace(rows=self.rows[mask])

    def times(self, hardware: Hardware) -> KernelTime:
        """What the tool says of the rows on a device."""
        numbers = self.rows.select_dtypes(["number", "bool"])
        sizes = {str(name): np.asarray(numbers[name], dtype=np.float64) for name in numbers}
        return FAMILIES[self.family].time(hardware, self.kernel, sizes)


def own_law(hardware: Hardware, one: MeasuredKernel) -> Law | None:
    """The law of that kernel in the device's file."""
    assert hardware.kernel_laws is not None
    laws: dict[str, Any] = hardware.kernel_laws.families.get(one.family, {})
    return laws.get(one.kernel)


def with_law(hardware: Hardware, kernel: str, law: Law) -> Hardware:
    """The device with another law of its own for one kernel."""
    laws = hardware.kernel_laws
    assert laws is not None
    changed = laws.updated(**{law.family: {**laws.families.get(law.family, {}), kernel: law}})
    return replace(hardware, kernel_laws=changed)


def plain(hardware: Hardware) -> Hardware:
    """The device as the plain roofline knows it: two peaks of the data sheet, no laws, no cache."""
    return replace(hardware, kernel_laws=None, laws_from=None, l2_cache_mib=None, correction=None)


def _hash(shape: tuple[float, ...]) -> int:
    words = "asked " + " ".join(f"{size:g}" for size in shape)
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:4])


@lru_cache(maxsize=16)
def table(folder: Path, file: str) -> pd.DataFrame:
    """A table of the folder; attention without types is bf16, messages get an element's width."""
    rows = read_table(folder / file)
    if file == VIDUR:
        return _vidur_matmuls(rows)
    if file == "attention_prefill.parquet":
        rows = rows.assign(dtype="bf16", kv_dtype="bf16")
    if file == "moe.parquet":
        rows = rows.assign(gated=~rows["inter_size"].isin(UNGATED))
    if file == "collectives.parquet":
        rows = rows.assign(element_bytes=rows["dtype"].map(ELEMENT_BYTES))
    return rows


def vidur_shapes(ways: Any) -> dict[str, tuple[Any, Any]]:
    """Out and in features of the linear ops of Vidur's layer, on so many GPUs."""
    return {
        "attn_pre_proj": (3 * HIDDEN / ways, HIDDEN),
        "attn_post_proj": (HIDDEN, HIDDEN / ways),
        "mlp_up_proj": (2 * INNER / ways, HIDDEN),
        "mlp_down_proj": (HIDDEN, INNER / ways),
    }


def _vidur_matmuls(layer: pd.DataFrame) -> pd.DataFrame:
    """The linear ops of Vidur's layer, as a table of matmuls has them."""
    shapes = vidur_shapes(layer["num_tensor_parallel_workers"])
    common = {"m": layer["num_tokens"], "hardware": "a100-sxm-80gb", "dtype": "bf16"}
    parts = (
        pd.DataFrame({**common, "n": n, "k": k, "time_ms": layer[f"{op}_ms"]}, index=layer.index)
        for op, (n, k) in shapes.items()
    )
    return pd.concat(parts, ignore_index=True).assign(source="vidur (cuBLAS, 2024)")


def of_hardware(folder: Path, hardware: Hardware) -> dict[str, pd.DataFrame]:
    """What was measured on a device, by family of kernels."""
    names = {name.lower() for name in (hardware.name, *hardware.aliases)}
    found: dict[str, pd.DataFrame] = {}
    for family, of_family in FAMILIES.items():
        parts = []
        for file in of_family.files:
            rows = table(folder, file)
            mine = rows[rows["hardware"].str.lower().isin(names)]
            if len(mine):
                parts.append(by_family(mine)[family])
        if parts:
            found[family] = pd.concat(parts, ignore_index=True)
    return found


def measured_kernels(
    folder: Path, hardware: Hardware
) -> Iterator[tuple[MeasuredKernel, MeasuredKernel | None]]:
    """The rows that each law of the device is fitted to, and those of other libraries."""
    for family, rows in of_hardware(folder, hardware).items():
        for kernel, some in FITTERS.find(family).kernels(hardware, rows).items():
            preferred = LIBRARIES.get(hardware.name, {}).get(family, "")
            arrays = {str(name): some[name].to_numpy() for name in some}
            own, others = by_library(arrays, preferred)
            rest = None if others is None else MeasuredKernel(family, kernel, pd.DataFrame(others))
            yield MeasuredKernel(family, kernel, pd.DataFrame(own)), rest
