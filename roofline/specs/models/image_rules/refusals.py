"""Pictures that a model's processor does not take."""

from roofline.errors import ScenarioError


def too_narrow(width: int, height: int) -> ScenarioError:
    """Of a picture of which nothing is left in one direction."""
    return ScenarioError(
        f"a picture of {width}x{height} is too narrow for the model's processor: show one whose "
        "sides differ less"
    )


def narrower_than(ratio: int, width: int, height: int) -> ScenarioError:
    """Of a picture beyond the ratio of sides that a processor takes."""
    return ScenarioError(
        f"a picture of {width}x{height} is narrower than 1 to {ratio}, which the model's processor "
        "refuses"
    )
