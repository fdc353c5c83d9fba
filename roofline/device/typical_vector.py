"""Laws of vector ops on a device where nobody measured any: shares of what was seen on an A100.

Microsoft Vidur timed the vector ops of a Llama-2-7B layer on an A100 80GB, 1 to 4096 tokens on 1,
2, 4 and 8 GPUs (2024, MIT). Its norm, rotary and gated activation, vLLM's kernels, attain a third
to a half of the DRAM bandwidth; its addition, PyTorch's, nine tenths. Bytes are those of our ops:
norm 2, rotary 4 (q and k, without the tables of cosines and sines), activation 3 and addition 3
elements of 2 bytes to one of the result.
"""

from __future__ import annotations

from msgspec import Struct

from roofline.device.laws.pointwise import PointwiseLaw
from roofline.specs.hardware import Hardware


class VectorShares(Struct, frozen=True):
    """What a vector op attains, by figures of the device's file."""

    launch: float
    """Of the launch overhead."""
    dram: float
    """Of the DRAM bandwidth."""
    cached: float
    """Bandwidth of bytes in the cache, over the DRAM bandwidth."""
    cache: float
    """Of the last-level cache."""


COMPUTING = VectorShares(launch=0.864, dram=0.422, cached=0.598, cache=0.309)
"""Geometric means of the laws of norm, rotary and activation on the A100."""
ADDING = VectorShares(launch=0.587, dram=0.898, cached=1.397, cache=0.834)
"""Of the law of its addition."""
ELEMENTWISE = ("residual", "layer_norm", "gelu", "gelu_tanh", "quick_gelu", "cast")
"""Ops of encoders, whose kernels are PyTorch's own: they attain what its addition does. Whole
vision transformers on an RTX 3090 and 4090 (timm `results/`, Apache-2.0), up to half of whose time
these are, agree best with 85 to 95 % of the DRAM bandwidth."""
MEDIAN_ERROR_PERCENT = 14.7
"""Of norm, rotary and activation, each by the mean of the other two."""
P90_ERROR_PERCENT = 30.3
"""Likewise."""


def typical_vector_laws(hardware: Hardware, launch_us: float) -> dict[str, PointwiseLaw]:
    """Laws of `ELEMENTWISE` ops, and of all others as `default`, from the device's launch overhead,
    DRAM bandwidth and cache.
    """
    adding = _law(hardware, launch_us, ADDING)
    return {
        "default": _law(hardware, launch_us, COMPUTING),
        **dict.fromkeys(ELEMENTWISE, adding),
    }


def _law(hardware: Hardware, launch_us: float, shares: VectorShares) -> PointwiseLaw:
    dram, cache = hardware.memory_bandwidth_gb_per_s.value, hardware.l2_cache_mib
    return PointwiseLaw(
        rows=0,
        origin="typical",
        median_error_percent=MEDIAN_ERROR_PERCENT,
        p90_error_percent=P90_ERROR_PERCENT,
        launch_us=shares.launch * launch_us,
        bandwidth_gb_per_s=shares.dram * dram,
        cached_bandwidth_gb_per_s=shares.cached * dram if cache else None,
        cache_mib=shares.cache * cache.value if cache else None,
    )
