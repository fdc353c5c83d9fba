"""Specs as text: what the catalog holds, and one spec with the source of each figure."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import msgspec

from roofline.report.text.fit import ERRORS, correction_lines, law_table
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import UNSTATED
from roofline.specs.models import (
    LanguageModel,
    Lmm,
    MlpConnector,
    Model,
    Perceiver,
    QFormer,
    StepConnector,
    VisionEncoder,
)
from roofline.specs.sourced import sourced_figures
from roofline.specs.this_machine import FoundDevice
from roofline.tables import WIDTH, definitions, grid


def hardware_list(devices: Sequence[Hardware]) -> str:
    """One line per device: memory, bandwidth and dense peaks; then the other names of each."""
    types = ("fp32", "fp16", "bf16", "fp8", "int8", "int4")
    rows = []
    for device in devices:
        peaks = [device.matmul_peak(data_type) for data_type in types]
        rows.append(
            [
                device.name,
                f"{device.memory_capacity_gib.value:g}",
                f"{device.memory_bandwidth_gb_per_s.value:g}",
                *("-" if peak is None else _four_digits(peak.value) for peak in peaks),
            ]
        )
    table = grid(rows, ["Hardware", "GiB", "GB/s", *types])
    parts = [table, "Dense peaks in TFLOP/s and TOP/s. `roofline hardware NAME` shows sources."]
    if aliases := [(d.name, ", ".join(d.aliases)) for d in devices if d.aliases]:
        parts.append(f"Other names:\n{definitions(aliases)}")
    return "\n\n".join(parts) + "\n"


def devices_of_machine(devices: Sequence[FoundDevice]) -> str:
    """What this machine has, and the whole sheet of each device that the catalog knows."""
    sentences = []
    for found in devices:
        known = found.hardware
        remedy = (
            f"give --hw {known.name}."
            if known
            else "no spec has that name. `roofline calibrate -o my-machine.yaml` measures it; "
            "`roofline hardware --new -o my-device.yaml` begins one from its data sheet."
        )
        sentences.append("\n".join(wrap(f"This machine has {found.name}: {remedy}", WIDTH)))
    sheets = dict.fromkeys(found.hardware for found in devices if found.hardware)
    return "\n\n".join(["\n".join(sentences), *map(hardware_sheet, sheets)]).rstrip("\n") + "\n"


def _four_digits(value: float) -> str:
    """A rate as a list shows it: 4 digits, and no exponent."""
    return f"{float(f'{value:.4g}'):g}"


def hardware_sheet(device: Hardware) -> str:
    """All figures of one device, each with the document that vouches for it."""
    rows = []
    for path, figure in sourced_figures(device):
        words = [getattr(figure, "engine", ""), figure.note]
        sparse = getattr(figure, "sparse", None)
        if sparse:
            words.append(f"{sparse:g} with sparsity")
        name = path.removeprefix("matmul_peaks.")
        rows.append([name, f"{figure.value:g}", figure.source, "; ".join(filter(None, words))])
    headers = ["Field", "Value", "Source", "Remarks"]
    taken = sum(2 + max(map(len, column)) for column in list(zip(headers, *rows, strict=True))[:3])
    limits = [None, None, None, min(30, max(20, WIDTH - taken))]
    table = grid(rows, headers, words=("Source", "Remarks"), widths=limits)
    names = [
        ("architecture", f"{device.vendor} {device.architecture}, {device.kind}"),
        ("aliases", ", ".join(device.aliases)),
        ("NVML names", ", ".join(device.nvml_names)),
        ("compute capability", device.compute_capability or ""),
    ]
    lines = [f"{label}: {value}" for label, value in names if value]
    sources = definitions([(f"[{key}]", " ".join(t.split())) for key, t in device.sources.items()])
    laws = _laws(device)
    return "\n".join([f"{device.name}: {device.title}", *lines, "", table, "", *laws, sources, ""])


def _laws(device: Hardware) -> list[str]:
    """Errors of its laws of attainable time, whose go for what was not measured, and what whole
    models say of them.
    """
    laws, lines = device.kernel_laws, []
    if laws is not None:
        conditions = f" with {laws.conditions}" if laws.conditions != UNSTATED else ""
        head = f"Laws, {laws.origin} {laws.date} [{laws.source}]{conditions}:"
        lines += [*wrap(head, WIDTH), "", law_table(device), "", ERRORS, ""]
    if device.laws_from is not None:
        others = "Other kernels" if laws else "Kernels"
        lines += [f"{others} as typical for the architecture: those of {device.laws_from}", ""]
    if device.correction is not None:
        said, *errors = correction_lines(device.correction)
        cited = f"{said.removesuffix('.')} [{device.correction.source}]."
        lines += [line for text in (cited, *errors) for line in wrap(text, WIDTH)] + [""]
    return lines


def model_list(models: Sequence[Model]) -> str:
    """One line per model: its kind and what it is made of."""
    rows = [[model.name, _kind(model), _summary(model)] for model in models]
    return grid(rows, ["Model", "Kind", "Shape"], words=("Kind", "Shape")) + "\n"


def model_sheet(model: Model) -> str:
    """All fields of one model and where they come from."""
    fields: dict[str, Any] = msgspec.to_builtins(model)
    shown = {k: v for k, v in fields.items() if k not in ("name", "title", "source", "kind")}
    rows = [[name, _value(value)] for name, value in shown.items() if value not in (None, [], ())]
    table = grid(rows, ["Field", "Value"], words=("Value",))
    return f"{model.name}: {model.title} ({_kind(model)})\n\n{table}\n\nSource: {model.source}\n"


def _kind(model: Model) -> str:
    return str(model.__struct_config__.tag)


def _summary(model: Model) -> str:
    match model:
        case LanguageModel():
            heads = f"{model.num_attention_heads} heads"
            if model.kv_heads != model.num_attention_heads:
                heads += f" ({model.kv_heads} KV)"
            return f"{model.num_hidden_layers} layers × {model.hidden_size}, {heads}"
        case VisionEncoder():
            return (
                f"{model.num_hidden_layers} layers × {model.hidden_size}, "
                f"{model.patches} patches of {model.patch_size_px} px"
            )
        case MlpConnector():
            return f"{model.num_linear_layers} linear layers"
        case StepConnector():
            return " → ".join(str(step.__struct_config__.tag) for step in model.steps)
        case QFormer() | Perceiver():
            return f"{model.num_query_tokens} queries, {model.num_hidden_layers} layers"
        case Lmm():
            return f"{_part(model.vision)} → {_part(model.llm)}"


def _part(part: str | VisionEncoder | LanguageModel) -> str:
    """A part of an LMM by its name, or, where it is written out in place, by its size."""
    if isinstance(part, str):
        return part
    return f"{part.num_hidden_layers} layers × {part.hidden_size}"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return str(value.get("name", "")) or ", ".join(f"{k} {v}" for k, v in value.items())
    return str(value)
