"""Devices side by side: a row of panels for each model and precision, a colour for each device."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from roofline.explore.study import Deployment
from roofline.report.charts.chart import LegendEntry, spoken
from roofline.report.charts.naming import unusual_counts
from roofline.report.charts.selection import first

MOST_DEVICES = 7
"""As many as there are colours that any eye can tell apart."""
_MOST_ROWS = 4


class DevicePanels(Struct, frozen=True):
    """As many deployments as a page holds."""

    rows: tuple[tuple[str, tuple[Deployment, ...]], ...]
    """What each row is called, and its deployments, one for each device."""
    left_out: tuple[str, ...]

    @property
    def deployments(self) -> list[Deployment]:
        """Of all rows."""
        return [deployment for _, deployments in self.rows for deployment in deployments]

    @property
    def legend(self) -> list[LegendEntry]:
        """The devices."""
        names = dict.fromkeys(deployment.hardware for deployment in self.deployments)
        return [LegendEntry(role="device", label=name, of=name) for name in names]


def device_panels(deployments: Sequence[Deployment]) -> DevicePanels:
    """Deployments by model and precision, of devices whose colours differ."""
    devices = list(dict.fromkeys(deployment.hardware for deployment in deployments))
    shown, no_device = first(devices, MOST_DEVICES, "device")
    groups: dict[str, list[Deployment]] = {}
    for deployment in deployments:
        if deployment.hardware in shown:
            counts = unusual_counts(deployment.inputs)
            row = ", ".join([deployment.model, deployment.quant, *counts])
            groups.setdefault(row, []).append(deployment)
    rows, no_row = first(list(groups.items()), _MOST_ROWS, "row")
    return DevicePanels(
        tuple((title, tuple(row)) for title, row in rows), spoken(no_device, no_row)
    )
