"""Connectors: what turns visual features into rows of the LLM's prompt."""

from __future__ import annotations

from roofline.specs.models.image_tokens import View
from roofline.specs.models.kinds import register_kind
from roofline.specs.sourced import Name, SmallInt, Spec


class Connector(Spec, frozen=True):
    """What all share: how many rows come out. One of one's own may be any such spec."""

    def tokens(self, view: View, features: int) -> int:
        """Rows that come out for one picture of that shape, of which `features` rows go in."""
        return features


class MlpConnector(Connector, frozen=True, tag_field="kind", tag="connector"):
    """An MLP from the encoder's width to the LLM's; its sizes are those of its neighbours."""

    name: Name
    title: str
    source: str
    num_linear_layers: SmallInt = 2
    bias: bool = True
    aliases: tuple[str, ...] = ()


register_kind(MlpConnector)
