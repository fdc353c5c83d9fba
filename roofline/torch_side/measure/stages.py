"""A measurement in stages, each of which is done once, in however many sittings.

A sitting is one run of a process; what it found stays in a journal for the next one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import torch
from msgspec import Struct

from roofline.records.journal import Journal
from roofline.records.measurement import RUN
from roofline.torch_side.measure import machine
from roofline.torch_side.measure.request import Request
from roofline.torch_side.measure.trial import Stretch

T = TypeVar("T")
SAMPLES = "samples"
"""Kind of a finding that is a stretch of samples."""
RESUMED = "an interrupted run went on here: samples are of several sittings"


class _Stage(Struct):
    """The finding of a stage that is done."""

    found: Any
    notes: list[str]
    """What it had to say, beside what it found."""
    warnings: list[str]


class Stages:
    """What is found, from a journal or anew, and what was noted on the way."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal or Journal(None, {})
        self.notes: list[str] = [RESUMED] if self._journal.findings else []
        self.warnings: list[str] = []

    def once(
        self,
        stage: str,
        kind: Any,
        measure: Callable[[], T],
        *,
        finished: Callable[[T], bool] = lambda found: found is not None,
    ) -> T:
        """What a stage finds: of an earlier sitting, or measured now and kept if it is `finished`:
        not None, unless another rule is given.

        kind: its type, for msgspec. Raises OutputError for a journal that is damaged.
        """
        known = next(self._journal.of(stage), None)
        if known is not None:
            done = self._journal.converted(known, _Stage)
            self.notes += done.notes
            self.warnings += done.warnings
            return cast(T, self._journal.converted(done.found, kind))
        notes, warnings = len(self.notes), len(self.warnings)
        found = measure()
        if finished(found):
            said = self.notes[notes:], self.warnings[warnings:]
            self._journal.add(stage, _Stage(found, *said))
        return found

    @property
    def stretches(self) -> list[Stretch]:
        """Samples of earlier sittings."""
        return [self._journal.converted(stretch, Stretch) for stretch in self._journal.of(SAMPLES)]

    def keep(self, stretch: Stretch) -> None:
        """Hold on to samples."""
        self._journal.add(SAMPLES, stretch)


def about(asked: Mapping[str, Any], specs: Sequence[Any], device: torch.device) -> dict[str, Any]:
    """What has to be as it was for a measurement to go on: what was asked, machine, and versions.

    specs: structs whose content counts, beside the names of them in what was asked. How long it
    may take does not count: a later sitting may have more time.
    """
    facts = machine.environment(device)
    del facts["device_memory_bytes"]  # a kernel keeps more or less of it for itself
    content = msgspec.json.encode(specs, order="sorted")
    named = {"machine" if name == "device" else name: fact for name, fact in facts.items()}
    return {**asked, **named, "specs": hashlib.sha256(content).hexdigest()}


def about_run(request: Request) -> dict[str, Any]:
    """The same of a run to be profiled."""
    scenario, picture = request.scenario, Path(request.image or "")
    asked = scenario.inputs | {name: getattr(request, name) for name in (*RUN, "per_op")}
    if picture.is_file():
        asked["picture"] = hashlib.sha256(picture.read_bytes()).hexdigest()
    specs = [scenario.model, scenario.hardware, scenario.quant]
    return about(asked, specs, torch.device(request.device))
