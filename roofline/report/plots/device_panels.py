"""Devices side by side: a row of panels for each model and precision, a look for each device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from roofline.explore.study import Deployment
from roofline.report.plots.style import LINE, SERIES, Look, first, key, looks

if TYPE_CHECKING:
    from matplotlib.artist import Artist

_MOST_ROWS, _MOST_DEVICES = 4, len(SERIES)


class Lineup(NamedTuple):
    """As many deployments as a page holds."""

    rows: Sequence[tuple[str, list[Deployment]]]
    """What each row is called, and its deployments, one for each device."""
    looks: Mapping[str, Look]
    """Of each device by its name."""
    note: str
    """What is left out."""

    @property
    def deployments(self) -> list[Deployment]:
        """Of all rows."""
        return [deployment for _, deployments in self.rows for deployment in deployments]

    @property
    def handles(self) -> list[Artist]:
        """Entries of the devices in a legend."""
        return [
            key(linestyle="-", marker=marker, color=colour, lw=LINE, label=name)
            for name, (marker, colour) in self.looks.items()
        ]


def lineup(deployments: Sequence[Deployment]) -> Lineup:
    """Settings by model and precision, of devices whose colours differ."""
    devices = list(dict.fromkeys(deployment.hardware for deployment in deployments))
    shown, no_device = first(devices, _MOST_DEVICES, "devices")
    groups: dict[str, list[Deployment]] = {}
    for deployment in deployments:
        if deployment.hardware in shown:
            groups.setdefault(f"{deployment.model}, {deployment.quant}", []).append(deployment)
    rows, no_row = first(list(groups.items()), _MOST_ROWS, "models and precisions")
    drawn = (deployment.hardware for _, row in rows for deployment in row)
    return Lineup(rows, looks(drawn), "; ".join(filter(None, (no_device, no_row))))
