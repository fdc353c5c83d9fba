"""What whole models on a device say of the laws of its kernels: a few factors, and their error."""

from typing import Annotated, Literal

import msgspec

from roofline.specs.kernel_laws import NonNegative
from roofline.specs.sourced import PositiveInt, Spec

Measured = Literal["tower", "prefill", "decode", "answer"]
"""What a time of a whole model is of: a vision encoder, a prompt, a decode step, a whole answer."""

Factor = Annotated[float, msgspec.Meta(ge=0.05, le=20)]


class Correction(Spec, frozen=True):
    """By how much whole models are faster or slower than the device's laws, in up to four numbers.

    `roofline fit` finds them. Laws keep their origin; the file says that they were corrected.
    """

    source: str
    """Key of the file's `sources`: who measured the models."""
    stages: Annotated[tuple[Measured, ...], msgspec.Meta(min_length=1)]
    """What was measured of them."""
    rows: PositiveInt
    """Measured times."""
    models: PositiveInt
    """Models that they are of."""
    rate: Factor = 1.0
    """Rate of matmuls and attention, over what their laws say."""
    bandwidth: Factor = 1.0
    """The same of the bandwidth, vector ops included."""
    kernel_us: NonNegative = 0.0
    """Added to the time of each kernel, in µs."""
    step_us: NonNegative = 0.0
    """Added to the host's time of each pass under a runtime, in µs."""
    median_error_percent: NonNegative | None = None
    """Median of the absolute errors of models that a fit made for this purpose did not see; None
    of a single model."""
    p90_error_percent: NonNegative | None = None
    """90th percentile of the same errors: the band of what was measured."""
    uncorrected_median_error_percent: NonNegative | None = None
    """Median of the absolute errors of the laws before."""
