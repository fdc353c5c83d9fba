"""An oracle that is not our formulas: Hugging Face models, traced op by op on meta tensors."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
