"""What a fit found."""

from __future__ import annotations

from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import Law
from roofline.tables import grid

_WORDS = ("Kernel",)


def law_table(hardware: Hardware) -> str:
    """One line per law of a device's own: its rows, and its error on shapes it did not see."""
    laws = hardware.kernel_laws
    assert laws is not None
    rows = [
        [
            family,
            kernel,
            law.rows,
            f"{law.median_error_percent:.1f} %",
            f"{law.p90_error_percent:.1f} %",
        ]
        for family, fitted in laws.families.items()
        for kernel, law in fitted.items()
        if isinstance(law, Law)
    ]
    return grid(rows, ["Op", "Kernel", "Rows", "Median error", "90th percentile"], words=_WORDS)


def render_fit(hardware: Hardware, *, left_out: int) -> str:
    """The laws, and what was not used."""
    lines = [
        law_table(hardware),
        "",
        "Errors are absolute, on whole shapes kept out of a first fit of each.",
    ]
    if left_out:
        lines.append(f"{left_out} rows of other hardware were left out.")
    return "\n".join([*lines, ""])
