"""Tools to test peers, transports and algorithms; public, for your tests as for ours."""

from gossipml.testing.pair import PeerPair as PeerPair

__all__ = ("PeerPair",)
