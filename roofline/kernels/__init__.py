"""Attained time of single kernels: fitted laws evaluated on arrays, never faster than the roofline.

`matmul_seconds`, `attention_seconds` and `vector_seconds` are pure NumPy functions of a law
(`roofline.specs.attained`), the device's `Roof` and the kernel's shape; arguments broadcast.
"""

from roofline.kernels.attention import attention_seconds
from roofline.kernels.matmul import matmul_seconds
from roofline.kernels.roof import Roof
from roofline.kernels.vector import vector_seconds

__all__ = ["Roof", "attention_seconds", "matmul_seconds", "vector_seconds"]
