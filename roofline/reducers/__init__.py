from roofline.reducers.costs import Reducer, ReductionTask, find

__all__ = ["Reducer", "ReductionTask", "find"]
