"""Connectors: what turns visual features into rows of the LLM's prompt."""

from __future__ import annotations

from roofline.specs.models.kinds import register_kind
from roofline.specs.sourced import Name, SmallInt, Spec


class MlpConnector(Spec, frozen=True, tag_field="kind", tag="connector"):
    """An MLP from the encoder's width to the LLM's; its sizes are those of its neighbours."""

    name: Name
    title: str
    source: str
    num_linear_layers: SmallInt = 2
    bias: bool = True
    aliases: tuple[str, ...] = ()


register_kind(MlpConnector)
