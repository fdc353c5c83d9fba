"""What the commands that measure share."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import click
import pytest

from roofline.cli import measuring


def test_a_release_of_click_whose_types_take_no_type_will_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class OfTheFloor:
        """As in click 8.2 and 8.3: no generic."""

        def fail(self, message: str, option: Any, context: Any) -> None:
            raise click.BadParameter(message)

    monkeypatch.setattr(click, "ParamType", OfTheFloor)
    spec = spec_from_file_location("measuring_anew", Path(str(measuring.__file__)))
    assert spec is not None
    assert spec.loader is not None
    anew = module_from_spec(spec)
    spec.loader.exec_module(anew)

    assert anew.TimeToSpend().convert("1.5", None, None) == 1.5
    with pytest.raises(click.BadParameter, match="not above 0"):
        anew.TimeToSpend().convert("0", None, None)
