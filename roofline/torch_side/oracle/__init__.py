"""Hugging Face models traced op by op: an oracle that is not our formulas."""
