"""What a fit found."""

from __future__ import annotations

from msgspec.structs import fields

from roofline.specs.correction import Correction
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import Law
from roofline.tables import grid

_WORDS = ("Kernel", "Library")

ERRORS = (
    "Errors in %, absolute: median and 90th percentile, on whole shapes kept out of a\n"
    "first fit of each. Others: 90th percentile on other libraries' kernels of the\n"
    "device, where somebody measured some."
)
"""What the columns of `law_table` are."""


def correction_lines(correction: Correction) -> list[str]:
    """What whole models say of the laws, and how far off models left out are."""
    numbers = {
        "rate": f"{correction.rate:.3g} of what the laws say",
        "bandwidth": f"{correction.bandwidth:.3g} of what the laws say",
        "kernel_us": f"{correction.kernel_us:.3g} µs more a kernel",
        "step_us": f"{correction.step_us:.3g} µs more a pass",
    }
    defaults = {field.name: field.default for field in fields(Correction)}
    found = [
        f"{name}: {words}"
        for name, words in numbers.items()
        if getattr(correction, name) != defaults[name]
    ]
    rows = plural(correction.rows, "row", "rows")
    models = plural(correction.models, "model", "models")
    lines = [f"Corrected by {rows} of {models}: {'; '.join(found) or 'the laws stand'}."]
    median, p90 = correction.median_error_percent, correction.p90_error_percent
    if median is None or p90 is None:
        return [*lines, "One model says nothing of others: the laws' errors stand."]
    before = correction.uncorrected_median_error_percent
    return [
        *lines,
        f"Models left out are off by {median:.1f} % in the median, nine in ten by at most "
        f"{p90:.1f} %; without a correction by {before:.1f} %.",
    ]


def plural(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def law_table(hardware: Hardware) -> str:
    """One line per law of a device's own: its library and rows, its error on shapes it did not see,
    and what nine in ten kernels of other libraries are off it.
    """
    laws = hardware.kernel_laws
    assert laws is not None
    rows = [
        [
            family,
            kernel,
            law.library or "-",
            law.rows,
            f"{law.median_error_percent:.1f}",
            f"{law.p90_error_percent:.1f}",
            "-" if other is None else f"{other:.1f}",
        ]
        for family, fitted in laws.families.items()
        for kernel, law in fitted.items()
        if isinstance(law, Law)
        for other in [law.p90_other_library_error_percent]
    ]
    headers = ["Op", "Kernel", "Library", "Rows", "Median", "90th", "Others"]
    return grid(rows, headers, words=_WORDS, widths=[None, None, 14, None, None, None, None])


def render_fit(hardware: Hardware, *, left_out: int) -> str:
    """The laws, what whole models say of them, and what was not used."""
    lines = []
    if hardware.kernel_laws is not None:
        lines += [
            law_table(hardware),
            "",
            ERRORS,
        ]
    if hardware.correction is not None:
        lines += correction_lines(hardware.correction)
    if left_out:
        lines.append(f"{left_out} rows of other hardware were left out.")
    return "\n".join([*lines, ""])
