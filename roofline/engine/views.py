"""How a record shows itself: by functions of a room above, found by name when first asked for.

The engine knows what people can ask of a record, not how it is drawn or said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from roofline.registry import Registry

VIEWS: Registry[Callable[..., Any]] = Registry("view", "roofline.report.views")
"""`text`, `html`, `figure`: each takes the record first."""
