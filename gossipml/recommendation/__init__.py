"""Which method, graph, weights, compressor and step an experiment asks for, and why."""

from __future__ import annotations

from gossipml.recommendation.rules import Choice, Recommendation, advise, recommend
from gossipml.recommendation.situation import Situation, measure

__all__ = ["Choice", "Recommendation", "Situation", "advise", "measure", "recommend"]
