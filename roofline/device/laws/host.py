"""What the host takes beside the kernels: a time for each forward pass and for each layer."""

from typing import ClassVar

import numpy as np

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


@register_laws(HostLaw)
def host_seconds(law: HostLaw, layers: FloatOrArray) -> Array:
    """Seconds of one forward pass through so many layers: t = fixed_us + layers·layer_us."""
    return law.fixed_us * MICRO + np.asarray(layers, dtype=np.float64) * law.layer_us * MICRO
