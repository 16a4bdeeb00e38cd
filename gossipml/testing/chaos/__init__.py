"""Deterministic fault simulation of the production peer code: a seed stands for all of a run."""

from gossipml.testing.chaos.campaign import Campaign as Campaign
from gossipml.testing.chaos.campaign import Failure as Failure
from gossipml.testing.chaos.campaign import campaign as campaign
from gossipml.testing.chaos.cases import Case as Case
from gossipml.testing.chaos.cases import draw as draw
from gossipml.testing.chaos.playing import Verdict as Verdict
from gossipml.testing.chaos.playing import play as play

__all__ = ("Campaign", "Case", "Failure", "Verdict", "campaign", "draw", "play")
