"""Reducers and quantization modes as text: what there is, and all of one with its source."""

from __future__ import annotations

from collections.abc import Sequence

from roofline.explore.listings import serving
from roofline.reducers import Reducer
from roofline.reducers.base import LLAVA_PATCHES
from roofline.reducers.listing import default_of_llava, options_of
from roofline.report.text.estimate_words import OWN_WORK
from roofline.specs.hardware import Hardware
from roofline.specs.quantization import Quantization
from roofline.tables import definitions, filled, grid
from roofline.units import significant

_SITES = {
    "features": "on the final visual features, before the LLM",
    "vision": "inside the ViT's blocks",
    "llm": "inside the LLM",
}


def reducer_list(reducers: Sequence[Reducer]) -> str:
    """One line per reducer: where it acts, what it leaves by default, its options."""
    rows = [
        [
            reducer.name,
            reducer.site,
            default_of_llava(reducer),
            ", ".join(option.name for option in options_of(reducer)) or "-",
            _paper(reducer),
        ]
        for reducer in reducers
    ]
    headers = ["Reducer", "Acts on", f"Of {LLAVA_PATCHES}", "Options", "Paper"]
    table = grid(
        rows, headers, words=("Acts on", "Options", "Paper"), widths=[None, None, None, None, 34]
    )
    note = filled(
        f"Of {LLAVA_PATCHES}: visual tokens that it leaves of LLaVA-1.5's where no count is asked "
        "for. "
        "`roofline reducers NAME` shows options and sources; options go behind the name, as in "
        "`--reducer fastv:k=3`."
    )
    return f"{table}\n\n{note}\n"


def reducer_sheet(reducer: Reducer) -> str:
    """What one is, where it acts, what it leaves and who says so, and every option."""
    facts = [
        ("Acts", _SITES[reducer.site]),
        (
            "Leaves",
            f"{default_of_llava(reducer)} of LLaVA-1.5's {LLAVA_PATCHES} visual tokens by default "
            f"({reducer.default_source}); another count is asked for with --visual-tokens",
        ),
        ("Own work", OWN_WORK[reducer.cost]),
        ("Source", reducer.source),
    ]
    if reducer.note:
        facts.insert(2, ("Note", reducer.note))
    parts = [filled(f"{reducer.name}: {reducer.title}"), definitions(facts)]
    options = options_of(reducer)
    if options:
        rows = [
            [option.name, option.default, option.takes, option.help or "-"] for option in options
        ]
        headers = ["Option", "Default", "Takes", "What it is"]
        parts.append(grid(rows, headers, words=tuple(headers), widths=[None, None, 24, 36]))
        first = next(iter(options))
        parts.append(f"Written {reducer.name}:{first.name}=VALUE, further options behind colons.")
    else:
        parts.append("It takes no options.")
    return "\n\n".join(parts) + "\n"


def quantization_list(modes: Sequence[Quantization], devices: Sequence[Hardware]) -> str:
    """One line per mode: widths, what it computes in, and on how many devices it runs."""
    rows = [
        [
            mode.name,
            mode.weight_bits,
            mode.activation_bits,
            mode.kv_bits,
            ", ".join(mode.compute),
            mode.outside_name,
            f"{sum(len(names) for names in serving(mode, devices).values())} of {len(devices)}",
        ]
        for mode in modes
    ]
    headers = ["Mode", "Weights", "Activations", "KV", "Computes in", "Outside LLM", "Runs on"]
    table = grid(rows, headers, words=("Computes in", "Outside LLM"))
    note = filled(
        "Widths in bits; a device computes in the first type that it has. `roofline quantization "
        "NAME` shows bytes and devices; any other widths are written wXaYkvZ, as in w4a8kv4."
    )
    return f"{table}\n\n{note}\n"


def quantization_sheet(
    mode: Quantization, outside: Quantization, devices: Sequence[Hardware]
) -> str:
    """Widths and bytes of one mode, and what each device computes in.

    outside: the mode of vision tower and connector.
    """
    rows: list[list[object]] = [
        ["Weights of linear layers", mode.weight_bits, _bytes(mode.weight_bytes("linear"))],
        ["Embedding, lm_head", *_width(mode.weight_bytes("embedding"))],
        ["Norms, biases", *_width(mode.vector_bytes)],
        ["Activations", mode.activation_bits, _bytes(mode.activation_bytes)],
        ["Keys and values", mode.kv_bits, _bytes(mode.kv_bytes)],
    ]
    scales = "none that count"
    if mode.group_size:
        scales = f"{mode.scale_bits} bits a {mode.group_size} weights"
        if mode.zero_point_bits:
            scales += f", and a zero point of {mode.zero_point_bits}"
    runs = serving(mode, devices)
    served = {name for names in runs.values() for name in names}
    facts = [
        ("Scales", scales),
        ("Outside LLM", f"vision tower and connector run in {outside.name}"),
        *((f"Runs in {data_type}", ", ".join(names)) for data_type, names in runs.items()),
        ("Source", mode.source),
    ]
    if lacking := [device.name for device in devices if device.name not in served]:
        facts.insert(-1, ("Runs not on", ", ".join(lacking)))
    table = grid(rows, ["In the LLM", "Bits", "Bytes each"])
    title = filled(f"{mode.name}: {mode.title}")
    return f"{title}\n\n{table}\n\n{definitions(facts)}\n"


def _paper(reducer: Reducer) -> str:
    """Authors and year."""
    return reducer.source.partition(",")[0]


def _width(size_bytes: float) -> tuple[str, str]:
    return f"{8 * size_bytes:g}", _bytes(size_bytes)


def _bytes(size: float) -> str:
    return f"{size:g}" if float(f"{size:g}") == size else significant(size, 4)
