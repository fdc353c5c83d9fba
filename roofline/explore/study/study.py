"""The study itself: what was asked, what came out, and what it rests on."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from roofline.explore.study.deployment import Deployment
from roofline.explore.study.priced_prompt import PricedPrompt
from roofline.explore.study.tradeoff import Front
from roofline.records.measurement import Record


class MeasuredRun(Struct, frozen=True):
    """A record of `roofline profile`, under the name of its file."""

    name: str
    record: Record


class Study(Struct, frozen=True, eq=False, kw_only=True):
    """Deployments, each with its prompts; measurements and accuracies where asked for."""

    deployments: tuple[Deployment, ...]
    """By model, device and precision, as asked."""
    records: tuple[MeasuredRun, ...] = ()
    fronts: tuple[Front, ...] = ()
    """One for each device, precision and benchmark; empty unless accuracies were asked for."""
    skipped: tuple[str, ...] = ()
    """Deployments that cannot be, each with the reason."""
    inputs: dict[str, Any]
    """What was asked, by axis, defaults filled in."""
    specs: dict[str, str]
    """Name of each spec that went in → SHA-256 of its content."""

    @property
    def prompts(self) -> tuple[PricedPrompt, ...]:
        """Of all deployments."""
        return tuple(c for deployment in self.deployments for c in deployment.prompts)

    @property
    def hardware(self) -> tuple[str, ...]:
        """Names of the devices."""
        return tuple(dict.fromkeys(deployment.hardware for deployment in self.deployments))

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(deployment.model for deployment in self.deployments))
