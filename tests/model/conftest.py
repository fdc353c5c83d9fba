"""Hypothesis without deadlines (what is slow here is a busy machine), and with fewer examples."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None, max_examples=50)
settings.load_profile("unhurried")
