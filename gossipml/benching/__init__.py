"""``bench``: what two peers get out of this machine, or of the network between two.

One end drives and the other obeys, over one connection: first as plain blocking sockets, which
is the limit, then as two peers that average a model, through the code of every run.
"""

from gossipml.benching.driving import SIZES, Measured, Row, connect, measure, measure_here
from gossipml.benching.obeying import serve

__all__ = ["SIZES", "Measured", "Row", "connect", "measure", "measure_here", "serve"]
