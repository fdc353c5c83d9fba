"""Attainable time of single kernels: fitted laws evaluated on arrays, never faster than the roofline.

`matmul_seconds`, `attention_seconds` and `pointwise_seconds` are pure NumPy functions of a law
(`roofline.specs.kernel_laws`), the device's `Roof` and the kernel's shape; arguments broadcast.
"""

from roofline.device.laws.attention import attention_seconds
from roofline.device.laws.matmul import matmul_seconds
from roofline.device.laws.pointwise import pointwise_seconds
from roofline.device.roof import Roof

__all__ = ["Roof", "attention_seconds", "matmul_seconds", "pointwise_seconds"]
