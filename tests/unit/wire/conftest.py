import pytest

from gossipml.testing import PeerPair
from gossipml.wire import Connection, Hello


def hello(**changes):
    fields = {
        "run": "digits-7",
        "peer": "0",
        "to": "1",
        "topology": "9f2c",
        "parameters": 650,
        "dtype": "float32",
        "algorithm": "d-psgd lr=0.1",
        "round": 0,
        "incarnation": 0x0123456789ABCDEF,
    }
    return Hello(**fields | changes)


@pytest.fixture
def make_hello():
    return hello


@pytest.fixture
def opened():
    """A function that makes a pair that has shaken hands."""

    def make(max_body=64, *, chunk_nbytes=None, in_place=False, **options):
        pair = PeerPair(
            Connection(max_body, **options),
            Connection(max_body, **options),
            chunk_nbytes=chunk_nbytes,
            in_place=in_place,
        )
        pair.handshake(hello(), hello(peer="1", to="0", incarnation=2))
        return pair

    return make
