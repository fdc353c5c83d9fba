"""What a spec does not say."""

from roofline.errors import ScenarioError
from roofline.specs.models.image_tokens import ImageTokens
from roofline.specs.sourced import Spec


class Unstated(Spec, frozen=True, tag_field="rule", tag="unstated"):
    """It depends on the picture, and the spec does not say how."""

    def image(self, width: int, height: int) -> ImageTokens:
        """Raises ScenarioError."""
        raise ScenarioError(
            "how many visual tokens a picture gives is not in this model's spec: give it a rule "
            "as `image_tokens`, or analyze its LLM alone"
        )
