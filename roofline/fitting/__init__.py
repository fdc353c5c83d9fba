"""Laws of attainable time, fitted to measured kernels.

`fit_matmul`, `fit_attention`, `fit_decode_attention`, `fit_encoder_attention`, `fit_pointwise`,
`fit_moe` and `fit_collective` take a table of measurements (a data frame, or a mapping of columns)
and give a law of `roofline.device.laws`, with its error on shapes that a first fit did not see. All
are deterministic, and refuse rows that no kernel can have produced. `fitters.FITTERS` has them by
family.
"""

from roofline.fitting.attention import fit_attention
from roofline.fitting.collective import fit_collective
from roofline.fitting.decode_attention import fit_decode_attention
from roofline.fitting.encoder_attention import fit_encoder_attention
from roofline.fitting.matmul import fit_matmul
from roofline.fitting.moe import fit_moe
from roofline.fitting.pointwise import fit_pointwise
from roofline.fitting.rows import FitError

__all__ = [
    "FitError",
    "fit_attention",
    "fit_collective",
    "fit_decode_attention",
    "fit_encoder_attention",
    "fit_matmul",
    "fit_moe",
    "fit_pointwise",
]
