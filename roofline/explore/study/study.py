"""The study itself: what was asked, what came out, and what it rests on."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from roofline.explore.study.deployment import Setting
from roofline.explore.study.priced_prompt import Configuration
from roofline.explore.study.tradeoff import Front
from roofline.records.measurement import Record


class Measured(Struct, frozen=True):
    """A record of `roofline profile`, under the name of its file."""

    name: str
    record: Record


class Study(Struct, frozen=True, eq=False, kw_only=True):
    """Settings, each with its configurations; measurements and accuracies where asked for."""

    settings: tuple[Setting, ...]
    """By model, device and precision, as asked."""
    records: tuple[Measured, ...] = ()
    fronts: tuple[Front, ...] = ()
    """One for each device, precision and benchmark; empty unless accuracies were asked for."""
    skipped: tuple[str, ...] = ()
    """Settings that cannot be, each with the reason."""
    inputs: dict[str, Any]
    """What was asked, defaults filled in."""
    specs: dict[str, str]
    """Name of each spec that went in → SHA-256 of its content."""

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """Of all settings."""
        return tuple(c for setting in self.settings for c in setting.configurations)

    @property
    def hardware(self) -> tuple[str, ...]:
        """Names of the devices."""
        return tuple(dict.fromkeys(setting.hardware for setting in self.settings))

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(setting.model for setting in self.settings))
