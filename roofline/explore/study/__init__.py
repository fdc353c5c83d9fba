"""A study: the estimates of a grid of prompts, and the answers that follow from them."""

from roofline.explore.study.build import study
from roofline.explore.study.deployment import Deployment
from roofline.explore.study.of_estimate import study_of
from roofline.explore.study.priced_prompt import PricedPrompt
from roofline.explore.study.study import MeasuredRun, Study
from roofline.explore.study.tradeoff import COSTS, Candidate, Front

__all__ = [
    "COSTS",
    "Candidate",
    "Deployment",
    "Front",
    "MeasuredRun",
    "PricedPrompt",
    "Study",
    "study",
    "study_of",
]
