"""Devices side by side: a row of panels for each model and precision, a look for each device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from roofline.explore.study import Setting
from roofline.report.plots.style import LINE, SERIES, Look, first, key, looks

if TYPE_CHECKING:
    from matplotlib.artist import Artist

_MOST_ROWS, _MOST_DEVICES = 4, len(SERIES)


class Lineup(NamedTuple):
    """As many settings as a page holds."""

    rows: Sequence[tuple[str, list[Setting]]]
    """What each row is called, and its settings, one for each device."""
    looks: Mapping[str, Look]
    """Of each device by its name."""
    note: str
    """What is left out."""

    @property
    def settings(self) -> list[Setting]:
        """Of all rows."""
        return [setting for _, settings in self.rows for setting in settings]

    @property
    def handles(self) -> list[Artist]:
        """Entries of the devices in a legend."""
        return [
            key(linestyle="-", marker=marker, color=colour, lw=LINE, label=name)
            for name, (marker, colour) in self.looks.items()
        ]


def lineup(settings: Sequence[Setting]) -> Lineup:
    """Settings by model and precision, of devices whose colours differ."""
    devices = list(dict.fromkeys(setting.hardware for setting in settings))
    shown, no_device = first(devices, _MOST_DEVICES, "devices")
    groups: dict[str, list[Setting]] = {}
    for setting in settings:
        if setting.hardware in shown:
            groups.setdefault(f"{setting.model}, {setting.quant}", []).append(setting)
    rows, no_row = first(list(groups.items()), _MOST_ROWS, "models and precisions")
    drawn = (setting.hardware for _, row in rows for setting in row)
    return Lineup(rows, looks(drawn), "; ".join(filter(None, (no_device, no_row))))
