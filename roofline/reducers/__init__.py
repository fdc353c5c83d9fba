"""Methods that reduce visual tokens: what each leaves, and what it costs itself."""

from roofline.reducers.costs import Reducer, ReductionTask, find

__all__ = ["Reducer", "ReductionTask", "find"]
