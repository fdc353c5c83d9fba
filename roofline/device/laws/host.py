"""What the host takes beside the kernels: a time for each forward pass and for each layer."""

from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta

from roofline.device.roof import FloatOrArray
from roofline.model.polynomial import Array
from roofline.specs.kernel_laws import AnyLaw, NonNegative, register_laws
from roofline.units import MICRO


class HostLaw(AnyLaw, frozen=True):
    """Numbers of `host_seconds`, for one component of a model."""

    family: ClassVar[str] = "host"
    fixed_us: NonNegative
    """Time of a forward pass whatever its layers, in µs."""
    layer_us: NonNegative
    """Time of each layer, in µs."""
    launches: Annotated[int, Meta(ge=0, le=10**6)] = 0
    """Of a reducer: kernels that the fixed time was measured over, so that others take it launch
    by launch; 0 where it goes for any."""
    wait_us: NonNegative = 0.0
    """Of a reducer: time of a number that is read back from the idle device, in µs."""

    @property
    def launch_s(self) -> float:
        """Seconds of one of its launches; 0 where nobody counted them."""
        return self.fixed_us * MICRO / self.launches if self.launches else 0.0


@register_laws(HostLaw)
def host_seconds(law: HostLaw, layers: FloatOrArray, launches: int = 0) -> Array:
    """Seconds of one forward pass: t = fixed_us + layers·layer_us.

    launches: of a law that tells its own, t = fixed_us·launches / law.launches + layers·layer_us.
    """
    fixed_s = law.launch_s * launches if law.launches else law.fixed_us * MICRO
    return fixed_s + np.asarray(layers, dtype=np.float64) * law.layer_us * MICRO
