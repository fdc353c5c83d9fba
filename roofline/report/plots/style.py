"""One visual language for all figures: sizes, type, colours, and what they mean.

Colours are of Okabe and Ito's set, told apart whatever the eye's kind of vision; marker, dash or
hatch says the same again, for prints without colour. Lengths are inches, type and lines points.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from math import nan
from textwrap import fill
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings

from roofline.report.charts.chart import Chart, LegendEntry, Panel, PanelAxis

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Page

FORMATS = ("png", "svg", "pdf")
DPI = 200
SINGLE_IN, DOUBLE_IN = 3.4, 7.0
"""Widths of one column of a paper, and of two."""
LEAST, SMALL, NORMAL = 6.0, 6.5, 7.5
"""Sizes of type, of which the least is as small as paper allows."""
LINE, THIN = 1.3, 0.7
INK, PALE, RULE = "#333333", "#6E6E6E", "#D9D9D9"
BOUND_HATCH = "//////"
"""Of bars that are the roofline bound, beside solid ones that are attainable."""
BOUND_ALPHA = 0.45
"""Of lines that are the bound, beside full ones that are attainable."""
BAND_ALPHA = 0.15
"""Of what attainable times may be off."""

MARKERS: dict[str, tuple[str, str]] = {
    "vision": ("o", "#0072B2"),
    "reducer": ("D", "#CC79A7"),
    "connector": ("^", "#E69F00"),
    "llm": ("s", "#D55E00"),
    "decode": ("v", "#009E73"),
    "whole": ("P", "#000000"),
}
"""Shape and colour of the parts of a model."""
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of things that have no colour of their own: devices, methods."""
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
"""Markers to go with them; their number shares no factor with that of colours."""
Look = tuple[str, str]
"""Marker and colour."""
_LETTERS = 20
"""Of a line within a panel."""
_OTHER = ("X", "#6E6E6E")


def component_look(name: str) -> Look:
    """Marker and colour of a part of the model."""
    return MARKERS.get(name, _OTHER)


def legend_looks(chart: Chart, role: str) -> dict[str, Look]:
    """Those of whatever the legend names in this role: devices, methods."""
    return looks(entry.of for entry in chart.legend if entry.role == role)


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Marker and colour for each name: among the first 7 neither comes twice, later no pair."""
    return {
        name: (SHAPES[i % len(SHAPES)], SERIES[i % len(SERIES)])
        for i, name in enumerate(dict.fromkeys(names))
    }


def tint(colour: str, share: float) -> tuple[float, float, float]:
    """`share` of a colour on white paper."""
    from matplotlib.colors import to_rgb

    red, green, blue = (1 - share * (1 - part) for part in to_rgb(colour))
    return red, green, blue


def dress(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Labels, which name units, and ticks and frame."""
    axes.set_xlabel(x, fontsize=NORMAL, color=INK, labelpad=2)
    axes.set_ylabel(y, fontsize=NORMAL, color=INK, labelpad=2)
    axes.set_title(title, fontsize=NORMAL, color=INK, loc="left", pad=4)
    axes.tick_params(labelsize=SMALL, colors=INK, length=2.5, pad=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.set_axisbelow(True)
    axes.minorticks_off()


def prefixed(axes: Axes, which: str, unit: str = "") -> None:
    """SI prefixes on the ticks of axis `x` or `y`."""
    from matplotlib.ticker import EngFormatter

    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    axis.set_major_formatter(EngFormatter(unit=unit, sep=" " if unit else "\N{THIN SPACE}"))


def logarithmic(axes: Axes, which: str = "y") -> None:
    """Make axis `x` or `y` logarithmic, with ticks at 1, 2 and 5."""
    from matplotlib.ticker import LogLocator

    axes.set(**{f"{which}scale": "log"})
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
    plainly_logarithmic(axis)


def plainly_logarithmic(axis: Axis) -> None:
    """Plain numbers, where matplotlib would write powers of ten as formulas."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def counted(axes: Axes, tokens: PanelAxis) -> None:
    """A logarithmic x axis from 1 to the most tokens, or 2, with plain numbers at its ticks."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    _, most = tokens.limits
    assert most is not None
    ticks = [float(4**k) for k in range(12) if 4**k < most / 2.2] + [most]
    axes.set(xscale="log", xlim=(1, max(2.0, most)))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())


def floats(values: Iterable[float | None]) -> list[float]:
    """With NaN, at which a line breaks, for None."""
    return [nan if value is None else value for value in values]


def say_why_empty(axes: Axes, panel: Panel) -> None:
    """In place of axes without content; a title stays."""
    axes.axis("off")
    axes.set_title(panel.title, fontsize=NORMAL, color=INK, loc="left", pad=4)
    words = fill(panel.empty_because, _LETTERS)
    centred: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
    axes.text(0.5, 0.5, words, fontsize=SMALL, color=PALE, **centred)


def key(**style: Any) -> Artist:
    """An entry of a legend, drawn as a line or a marker."""
    from matplotlib.lines import Line2D

    usual: dict[str, Any] = {"color": PALE, "linestyle": "none", "markersize": 4.5}
    return Line2D([], [], **usual | style)


def device_key(entry: LegendEntry, looks: Mapping[str, Look]) -> Artist:
    """The line of a device, which has a marker as well."""
    marker, colour = looks[entry.of]
    return key(linestyle="-", marker=marker, color=colour, lw=LINE, label=entry.label)


def swatch(**style: Any) -> Artist:
    """An entry of a legend, drawn as an area."""
    from matplotlib.patches import Patch

    return Patch(**style)


AS_IT_IS: Any = {"text.parse_math": False}
"""A dollar in a name is one, and no formula."""


def render(drawing: Page, form: str) -> bytes:
    """A drawing as a `png`, `svg` or `pdf` file, the same bytes for the same drawing."""
    import matplotlib

    metadata: dict[str, dict[str, Any]] = {
        "png": {},
        "svg": {"Date": None},
        "pdf": {"CreationDate": None},
    }
    buffer = BytesIO()
    with (
        matplotlib.rc_context({"svg.hashsalt": "roofline", "pdf.fonttype": 42, **AS_IT_IS}),
        catch_warnings(action="ignore", category=UserWarning),  # letters that the font lacks
    ):
        drawing.savefig(buffer, format=form, dpi=DPI, metadata=metadata[form])
    return buffer.getvalue()
