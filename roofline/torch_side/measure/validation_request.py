"""What a validation is asked for, and what has to be as it was for one to go on."""

from __future__ import annotations

from typing import Any, Self

import torch
from msgspec import Struct

from roofline.engine.analysis import analyze
from roofline.engine.scenario import Scenario
from roofline.errors import InputError, ScenarioError
from roofline.specs.catalog import load_hardware, load_model
from roofline.specs.hardware import Hardware
from roofline.specs.models import Lmm
from roofline.specs.writing import as_plain
from roofline.torch_side.calibrate.calibrate import about as about_calibration
from roofline.torch_side.families import families
from roofline.torch_side.load import DTYPES, checked_device, quantizer
from roofline.torch_side.measure.modes import STATIC, keywords_of
from roofline.torch_side.measure.pipeline import check_one_length
from roofline.torch_side.measure.scenes import DEFAULT_REDUCER, scenes
from roofline.torch_side.measure.stages import about


class ValidationRequest(Struct, frozen=True, kw_only=True):
    """What to run, and as what."""

    model: Lmm
    reducer: str
    quant: str
    device: str
    mode: str

    @classmethod
    def of(
        cls,
        *,
        model: str | Lmm | None = None,
        reducer: str = DEFAULT_REDUCER,
        quant: str | None = None,
        device: str | None = None,
        mode: str = "eager",
    ) -> Self:
        """Check, and fill in the defaults of this machine.

        Raises InputError for what cannot run here, before anything is measured.
        """
        torch_device = checked_device(device)
        on_cpu = torch_device.type == "cpu"
        quant = quant or ("fp32" if on_cpu else "fp16")
        spec = load_model(model or ("llava-small" if on_cpu else "llava-1.5-7b"))
        if not isinstance(spec, Lmm):
            raise ScenarioError(f"{spec.name} is no LMM: validate one, such as llava-small")
        if not families.find(spec.architecture).traced_apart:
            raise ScenarioError(
                f"{spec.name} is not validated: parts of a {spec.architecture} are not traced by "
                f"themselves; `roofline profile --model {spec.name}` runs and times it"
            )
        scenes(spec, reducer)
        quantizer(quant, torch_device)
        keywords_of(mode, torch_device)
        method = Scenario.of(spec, reducer=reducer).reducer
        if mode == STATIC and method is not None:
            check_one_length(method)
        return cls(model=spec, reducer=reducer, quant=quant, device=str(torch_device), mode=mode)

    @property
    def calibrated_modes(self) -> list[str]:
        """Those whose kernels it runs: a low-bit mode computes in bf16."""
        return [self.quant] if self.quant in DTYPES else ["bf16", self.quant]


def check_hardware(request: ValidationRequest, hardware: Hardware) -> None:
    """Raise InputError for a spec of another kind of device, or of one that cannot run what is
    validated.
    """
    kind = "cpu" if torch.device(request.device).type == "cpu" else "gpu"
    if hardware.kind != kind:
        raise InputError(
            f"{hardware.name} is a {hardware.kind}, and this runs on a {kind}: a validation is of "
            f"the device that it runs on (`roofline profile --hw {hardware.name}` holds a run "
            "against another)"
        )
    analyze(request.model, hardware, request.quant)


def about_validation(
    *,
    model: str | Lmm | None,
    reducer: str,
    hardware: str | Hardware | None,
    quant: str | None,
    device: str | None,
    mode: str,
) -> dict[str, Any]:
    """What has to be as it was for a validation to go on, its own calibration included.

    Raises what `ValidationRequest.of` raises.
    """
    request = ValidationRequest.of(
        model=model, reducer=reducer, quant=quant, device=device, mode=mode
    )
    spec = hardware if hardware is None else load_hardware(hardware)
    if spec is not None:
        check_hardware(request, spec)
    asked = {
        "model": request.model.name,
        "hardware": spec and spec.name,
        "reducer": reducer,
        "quant": request.quant,
        "device": request.device,
        "mode": mode,
    }
    known = about(asked, [request.model, as_plain(spec)], torch.device(request.device))
    if spec is None:
        calibrated = about_calibration(request.device, request.calibrated_modes)
        known |= {f"calibration's {name}": fact for name, fact in calibrated.items()}
    return known
