"""Write `reports/accuracy.md`: `python tools/accuracy.py FOLDER [--check]`.

FOLDER holds the measurements that the laws of attained time were fitted to. For each law another is
fitted to three quarters of its shapes and predicts the rest; that takes minutes. `--check` refits
nothing: it says whether the part of the report that rests on the laws that ship is fresh.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from measured import MeasuredKernel, measured_kernels, measurements

from roofline import matmul_time
from roofline.device.borrowed import borrowing_errors, laws_of
from roofline.device.kernel_types import kernel_roof
from roofline.device.laws import pointwise_seconds
from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.matmul import MatmulLaw
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.device.roof import FloatOrArray
from roofline.fitting import fit_attention, fit_matmul
from roofline.model.polynomial import Array
from roofline.specs.catalog import all_hardware, load_hardware
from roofline.specs.hardware import Hardware
from roofline.tables import grid

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "reports" / "accuracy.md"
LAYER = "llama2_7b_layer_a100_80gb.csv"
REFITTED = "\n## On shapes that a fit did not see\n"
"""Heading of the part that takes minutes: the report's last."""

SIZES: dict[str, tuple[str, tuple[tuple[str, float, float], ...]]] = {
    "matmul": ("m", (("m 1–16", 1, 16), ("m 17–256", 17, 256), ("m over 256", 257, np.inf))),
    "attention": (
        "tokens",
        (("1–256 tokens", 1, 256), ("257–2048", 257, 2048), ("over 2048", 2049, np.inf)),
    ),
}


class ErrorSummary(NamedTuple):
    """Relative errors in percent; positive: predicted to take longer than measured."""

    rows: int
    signed: float
    median: float
    mean: float
    p90: float

    @classmethod
    def of(cls, predicted_s: Array, measured_s: Array) -> ErrorSummary:
        off = 100 * (predicted_s / measured_s - 1)
        size = np.abs(off)
        median, p90 = np.quantile(size, (0.5, 0.9)).tolist()
        return cls(off.size, float(np.median(off)), median, float(np.mean(size)), p90)

    def cells(self) -> list[str]:
        signed = f"{self.signed:+.1f} %".replace("-", "−")
        return [str(self.rows), signed, *(f"{v:.1f} %" for v in (self.median, self.mean, self.p90))]


PLAIN = "Plain roofline, mean"
COLUMNS = ["Rows", "Signed median", "Median", "Mean", "p90"]


class Pair(NamedTuple):
    """The law of a source device on the kernels of a device that borrows it."""

    source: str
    borrower: str
    family: str
    kernel: str
    same: bool
    """Whether both are of one compute capability."""
    errors: ErrorSummary


class Layer(NamedTuple):
    """A layer of Llama-2-7B on an A100, by token count and tensor-parallel degree."""

    linear: ErrorSummary
    vector_ops: ErrorSummary
    """Each op on its own."""
    together: ErrorSummary
    bound: ErrorSummary
    """The same as `together` for the plain roofline."""
    alone: ErrorSummary
    """`together` on one GPU."""


def devices() -> list[Hardware]:
    """Those with laws of their own."""
    return [device for device in all_hardware() if device.kernel_laws is not None]


def own_law(hardware: Hardware, one: MeasuredKernel) -> MatmulLaw | AttentionLaw | None:
    """The law of that kernel in the device's file."""
    assert hardware.kernel_laws is not None
    laws: dict[str, Any] = hardware.kernel_laws.families.get(one.family, {})
    return laws.get(one.kernel)


def borrowed(tables: list[pd.DataFrame], names: Sequence[str]) -> list[Pair]:
    """Each device's laws on the others' kernels of the same name."""
    fitted = [load_hardware(name) for name in names]
    measured = {device.name: list(measured_kernels(tables, device)) for device in fitted}
    pairs = []
    for borrower in fitted:
        for source in fitted:
            for one in measured[borrower.name] if source is not borrower else ():
                law = own_law(source, one)
                if law is not None:
                    same = source.compute_capability == borrower.compute_capability
                    errors = ErrorSummary.of(one.times(borrower, law)[0], one.seconds)
                    names_ = (source.name, borrower.name, one.family, one.kernel, same)
                    pairs.append(Pair(*names_, errors))
    return pairs


def layer(folder: Path) -> Layer:
    """Vidur's measurements of one layer, which no law was fitted to; `add` is counted once, as
    there, and the embedding belongs to no layer.
    """
    table = pd.read_csv(folder / LAYER)
    tokens, ways = (
        table[name].to_numpy(dtype=np.float64)
        for name in ("num_tokens", "num_tensor_parallel_workers")
    )
    hidden, inner = 4096, 11008
    shapes: dict[str, tuple[FloatOrArray, FloatOrArray]] = {
        "attn_pre_proj": (3 * hidden / ways, hidden),
        "attn_post_proj": (hidden, hidden / ways),
        "mlp_up_proj": (2 * inner / ways, hidden),
        "mlp_down_proj": (hidden, inner / ways),
    }
    moved: dict[str, FloatOrArray] = {  # elements read and written, of a token
        "input_layernorm": 2 * hidden,
        "post_attention_layernorm": 2 * hidden,
        "attn_rope": 4 * hidden / ways,
        "mlp_act": 3 * inner / ways,
        "add": 3 * hidden,
    }
    a100 = load_hardware("a100-80gb")
    laws = laws_of(a100)
    assert laws is not None
    kernels = {op: matmul_time(a100, tokens, n, k, "fp16") for op, (n, k) in shapes.items()}
    roof = kernel_roof(a100, "fp32")
    vector = {
        op: pointwise_seconds(
            laws.of(PointwiseLaw)["default"], roof, traffic_bytes=2 * tokens * elements
        )
        for op, elements in moved.items()
    }
    seconds = {op: table[f"{op}_ms"].to_numpy() / 1e3 for op in (*shapes, *moved)}
    linear = _sum(kernel.attainable_time_s for kernel in kernels.values())
    predicted = linear + _sum(vector.values())
    measured = _sum(seconds.values())
    bound = _sum(kernel.roofline_time_s for kernel in kernels.values()) + _sum(
        roof.seconds(0.0, 2 * tokens * elements) for elements in moved.values()
    )
    return Layer(
        ErrorSummary.of(linear, _sum(seconds[op] for op in shapes)),
        ErrorSummary.of(
            np.concatenate(list(vector.values())), np.concatenate([seconds[op] for op in moved])
        ),
        ErrorSummary.of(predicted, measured),
        ErrorSummary.of(bound, measured),
        ErrorSummary.of(predicted[ways == 1], measured[ways == 1]),
    )


def _sum(times_s: Iterable[Array | None]) -> Array:
    """Of one array per kernel; the device has laws of all."""
    whole: Array = np.zeros(())
    for seconds in times_s:
        assert seconds is not None
        whole = whole + seconds
    return whole


def shipped(tables: list[pd.DataFrame], folder: Path) -> str:
    """The part of the report that needs no fit."""
    fits, pairs = [], []
    for device in devices():
        for one in measured_kernels(tables, device):
            law = own_law(device, one)
            assert law is not None, (device.name, one.kernel)
            predicted, bound = one.times(device, law)
            plain = ErrorSummary.of(bound, one.seconds).mean
            errors = ErrorSummary.of(predicted, one.seconds)
            names = [device.name, one.family, one.kernel]
            stated = [f"{v:.1f} %" for v in (law.median_error_percent, law.p90_error_percent)]
            fits.append([*names, *errors.cells(), f"{plain:.1f} %", *stated])
    for pair in borrowed(tables, [device.name for device in devices()]):
        capability = "same" if pair.same else "other"
        who = [pair.source, pair.borrower, pair.family, pair.kernel, capability]
        pairs.append([*who, *(f"{v:.1f} %" for v in pair.errors[2:])])
    on_layer, borrowing = layer(folder), borrowing_errors()
    layers = [
        ["linear ops", *on_layer.linear.cells()],
        ["each vector op (typical law)", *on_layer.vector_ops.cells()],
        ["the layer", *on_layer.together.cells()],
        ["the layer, one GPU", *on_layer.alone.cells()],
        ["the layer, plain roofline", *on_layer.bound.cells()],
    ]
    by_relation = [
        [op, capability, f"{errors.median_percent:.1f} %", f"{errors.p90_percent:.1f} %"]
        for op, capability, errors in (
            ("matmul", "the same", borrowing.same_capability.matmul),
            ("matmul", "another", borrowing.other_capability.matmul),
            ("matmul w8a8, w8a16, w4a16", "any", borrowing.quantized_matmul),
            ("attention", "the same", borrowing.same_capability.attention),
            ("attention", "another", borrowing.other_capability.attention),
        )
    ]
    return "\n".join(
        [
            "# How far attainable time is from measurement",
            "",
            "Generated by `python tools/accuracy.py FOLDER` from measurements that are not in the",
            "project: NVIDIA aiconfigurator's database (A100, H100, H200, B200, L40S), Baidu",
            "DeepBench (V100, T4), Microsoft Vidur (one layer on an A100). Errors are relative",
            "to the measured time; signed ones above zero are predictions that are too slow; all",
            "others are absolute.",
            "",
            "## Laws that ship, on the rows they were fitted to",
            "",
            "The last two columns are what the device's file states: errors on shapes that a first",
            "fit did not see.",
            "",
            _table(
                fits, ["Device", "Op", "Kernel", *COLUMNS, PLAIN, "States median", "States p90"]
            ),
            "",
            "## A layer that no law was fitted to",
            "",
            "One layer of Llama-2-7B on an A100 80GB (Microsoft Vidur, 2024), 1 to 4096 tokens, on",
            "1, 2, 4 and 8 GPUs: another laboratory, other software. Linear and vector ops; the",
            "file has no attention kernel.",
            "",
            _table(layers, ["Part", *COLUMNS]),
            "",
            "## Laws of one device on another",
            "",
            "What a law costs on a device that it was not fitted to, with that device's peaks, SMs",
            "and cache. `typical for this architecture` states the means of these, by whether the",
            "two devices are of one compute capability:",
            "",
            _table(by_relation, ["Of", "Capability", "Median", "p90"]),
            "",
            _table(pairs, ["Law of", "On", "Op", "Kernel", "Capability", "Median", "Mean", "p90"]),
            "",
        ]
    )


def refitted(tables: list[pd.DataFrame]) -> str:
    """The part that fits a law to three quarters of every table."""
    whole, classes = [], []
    for device in devices():
        for one in measured_kernels(tables, device):
            print(f"{device.name}: {one.family} {one.kernel}", file=sys.stderr, flush=True)
            roof, test = kernel_roof(device, one.kernel), one.held_out
            rest, others = one.where(~test), one.where(test)
            law: MatmulLaw | AttentionLaw = (
                fit_matmul(rest.columns, roof, kernel=one.kernel)
                if one.family == "matmul"
                else fit_attention(rest.columns, roof)
            )
            names = [device.name, one.family, one.kernel]
            whole.append([*names, *_on(others, device, law)])
            classes += [[*names, name, *_on(part, device, law)] for name, part in _sized(others)]
    columns = [*COLUMNS, PLAIN]
    return "\n".join(
        [
            REFITTED,
            "A quarter of the (n, k) shapes of matmuls and of the (tokens, heads) pairs of",
            "attention, drawn by a hash, is kept out (not the one behind the errors that the files",
            "state); a law fitted to the rest predicts it.",
            "",
            _table(whole, ["Device", "Op", "Kernel", *columns]),
            "",
            "The same by size: rows of activations of matmuls, tokens of attention.",
            "",
            _table(classes, ["Device", "Op", "Kernel", "Size", *columns]),
            "",
        ]
    )


def _on(rows: MeasuredKernel, device: Hardware, law: MatmulLaw | AttentionLaw) -> list[str]:
    predicted, bound = rows.times(device, law)
    plain = ErrorSummary.of(bound, rows.seconds).mean
    return [*ErrorSummary.of(predicted, rows.seconds).cells(), f"{plain:.1f} %"]


def _sized(rows: MeasuredKernel) -> Iterator[tuple[str, MeasuredKernel]]:
    column, spans = SIZES[rows.family]
    size = rows.column(column)
    for name, low, high in spans:
        mask = (size >= low) & (size <= high)
        if mask.any():
            yield name, rows.where(mask)


def _table(rows: list[list[str]], headers: list[str]) -> str:
    words = ("On", "Op", "Kernel", "Size", "Capability")
    return grid(rows, headers, "github", words=words)


def main() -> None:
    folder, *options = sys.argv[1:] or sys.exit(__doc__)
    tables = measurements(Path(folder))
    quick = shipped(tables, Path(folder))
    if "--check" in options:
        kept = REPORT.read_text(encoding="utf-8").partition(REFITTED)[0]
        sys.exit(0 if kept == quick else f"stale: {REPORT.relative_to(ROOT)}")
    REPORT.write_text(quick + refitted(tables), encoding="utf-8")


if __name__ == "__main__":
    main()
