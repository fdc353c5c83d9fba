"""A study: the estimates of a grid of configurations, and the answers that follow from them."""

from roofline.explore.study.build import study
from roofline.explore.study.deployment import Setting
from roofline.explore.study.priced_prompt import Configuration, predicted_time_s
from roofline.explore.study.study import Measured, Study
from roofline.explore.study.tradeoff import COSTS, Candidate, Front

__all__ = [
    "COSTS",
    "Candidate",
    "Configuration",
    "Front",
    "Measured",
    "Setting",
    "Study",
    "predicted_time_s",
    "study",
]
