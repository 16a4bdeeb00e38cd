"""``python -m gossipml`` is ``gossipml``."""

from gossipml.cli import main

main()
