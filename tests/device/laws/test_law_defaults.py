"""What a file of laws may leave out stands for a value that it may hold."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.matmul import MatmulLaw, Tile
from roofline.device.laws.pointwise import PointwiseLaw


@pytest.mark.parametrize("law", [AttentionLaw, MatmulLaw, PointwiseLaw, Tile])
def test_what_is_left_out_is_a_value_that_a_file_may_hold(law: type[msgspec.Struct]) -> None:
    optional = [field for field in msgspec.structs.fields(law) if not field.required]
    assert optional
    for field in optional:
        given: Any = msgspec.to_builtins(field.default)
        assert msgspec.convert(given, field.type) == field.default
