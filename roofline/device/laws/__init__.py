"""Attainable time of single kernels: fitted laws on arrays, never faster than the roofline.

A module is a family of laws: the numbers of a law, the function that turns them into seconds, pure
NumPy of a law, the device's `Roof` and the kernel's shape, and the registration of both in
`roofline.specs.kernel_laws.LAW_FAMILIES`. `smooth` has what they share.
"""

from roofline.device.laws.attention import attention_seconds
from roofline.device.laws.collective import collective_seconds
from roofline.device.laws.decode_attention import decode_attention_seconds
from roofline.device.laws.encoder_attention import encoder_attention_seconds
from roofline.device.laws.matmul import matmul_seconds
from roofline.device.laws.moe import moe_seconds
from roofline.device.laws.pointwise import pointwise_seconds
from roofline.device.roof import Roof

__all__ = [
    "Roof",
    "attention_seconds",
    "collective_seconds",
    "decode_attention_seconds",
    "encoder_attention_seconds",
    "matmul_seconds",
    "moe_seconds",
    "pointwise_seconds",
]
