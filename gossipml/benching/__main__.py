"""The second process of a measurement on one machine; its argument is a listening socket."""

import socket
import sys

from gossipml.benching.obeying import serve

serve(socket.socket(fileno=int(sys.argv[1])), times=1)
