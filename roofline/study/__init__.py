"""A study: the estimates of a grid of configurations, and the answers that follow from them."""

from roofline.study.build import study
from roofline.study.configuration import Configuration, predicted_time_s
from roofline.study.setting import Setting
from roofline.study.tradeoff import COSTS, Candidate, Front
from roofline.study.whole import Measured, Study

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
