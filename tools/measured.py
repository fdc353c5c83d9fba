"""What the tools share: tables of measured kernels, and what laws say of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from roofline.device.kernel_types import ATTENTION_BYTES, MATMUL_KERNELS, kernel_roof
from roofline.device.laws.attention import AttentionLaw, attention_flops, attention_seconds
from roofline.device.laws.matmul import MatmulLaw, matmul_seconds
from roofline.fitting.rows import FitError, of_one_source
from roofline.fitting.tables import by_family, by_kernel, of_device, read_table
from roofline.model.polynomial import Array
from roofline.specs.hardware import Hardware

FITTED_TABLES = ("attention_prefill.parquet", "gemm.parquet", "gemm_v100_t4.csv")
ONE_IN = 4
"""One shape in so many is held out."""
ATTENTION = ("batch_size", "tokens", "num_heads", "num_key_value_heads", "head_dim")


class MeasuredKernel(NamedTuple):
    """The rows of one kernel on one device, of the one library that its law is fitted to."""

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
        names = ("n", "k") if self.family == "matmul" else ("tokens", "num_heads")
        shapes = zip(*(self.column(name) for name in names), strict=True)
        return np.array([_hash(shape) % ONE_IN == 0 for shape in shapes])

    @property
    def columns(self) -> dict[str, Any]:
        """As a fit takes them."""
        return {str(name): self.rows[name] for name in self.rows}

    def column(self, name: str) -> Array:
        return np.asarray(self.rows[name], dtype=np.float64)

    def where(self, mask: NDArray[np.bool_]) -> MeasuredKernel:
        return self._replace(rows=self.rows[mask])

    def times(self, hardware: Hardware, law: MatmulLaw | AttentionLaw) -> tuple[Array, Array]:
        """What the law says of the rows on a device, and the roofline, in seconds."""
        roof = kernel_roof(hardware, self.kernel)
        if isinstance(law, MatmulLaw):
            m, n, k = map(self.column, ("m", "n", "k"))
            width = MATMUL_KERNELS[self.kernel]
            weights, activations = width.weight * n * k, m * (width.input * k + width.output * n)
            sizes = {"weight_bytes": weights, "activation_bytes": activations}
            bound = roof.seconds(2 * m * n * k, weights + activations)
            return matmul_seconds(law, roof, m, n, k, **sizes), bound
        batch, tokens, heads, kv_heads, size = map(self.column, ATTENTION)
        shape = (batch, tokens, tokens, heads, kv_heads, size)
        moved = ATTENTION_BYTES[self.kernel] * 2 * batch * tokens * size * (heads + kv_heads)
        flops = attention_flops(batch, tokens, tokens, heads, size, causal=True)
        seconds = attention_seconds(law, roof, *shape, causal=True, traffic_bytes=moved)
        return seconds, roof.seconds(flops, moved)


def _hash(shape: tuple[float, ...]) -> int:
    words = "asked " + " ".join(f"{size:g}" for size in shape)
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:4])


def measurements(folder: Path) -> list[pd.DataFrame]:
    """The folder's tables that laws are fitted to, whatever else lies there."""
    return [read_table(folder / file) for file in FITTED_TABLES]


def of_hardware(tables: list[pd.DataFrame], hardware: Hardware) -> dict[str, pd.DataFrame]:
    """What was measured on a device, by family of kernels."""
    found: dict[str, pd.DataFrame] = {}
    for table in tables:
        try:
            rows, _ = of_device(table, (hardware.name, *hardware.aliases))
        except FitError:  # it is in another table
            continue
        found |= by_family(rows)
    return found


def measured_kernels(tables: list[pd.DataFrame], hardware: Hardware) -> Iterator[MeasuredKernel]:
    """The rows that each law of the device is fitted to."""
    for family, rows in of_hardware(tables, hardware).items():
        named = by_kernel(rows) if family == "matmul" else {"bf16": rows}
        for kernel, some in named.items():
            columns = {str(name): np.asarray(some[name]) for name in some}
            yield MeasuredKernel(family, kernel, pd.DataFrame(of_one_source(columns)))
