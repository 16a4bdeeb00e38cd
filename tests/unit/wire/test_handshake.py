"""Which HELLOs go together."""

import pytest

from gossipml.wire import check_hello
from gossipml.wire.events import encode_body


@pytest.fixture
def theirs(make_hello):
    def make(**changes):
        return make_hello(**{"peer": "1", "to": "0", "incarnation": 9, "round": 4} | changes)

    return make


@pytest.mark.parametrize("expected", ["1", {"1"}, ["2", "1"], ("1",)])
def test_round_and_incarnation_may_differ(make_hello, theirs, expected):
    assert check_hello(make_hello(), theirs(), expected) is None


def test_an_acceptor_need_not_know_who_calls(make_hello, theirs):
    assert check_hello(make_hello(to=""), theirs(), {"1", "2"}) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol_min": 2, "protocol_max": 3}, "protocol: ours 1, theirs 2 to 3"),
        ({"protocol_min": 0, "protocol_max": 0}, "protocol: ours 1, theirs 0"),
        ({"to": "5"}, "to: ours 0, theirs 5"),
        ({"peer": "7"}, "peer: ours 1, theirs 7"),
        ({"parameters": 7850}, "parameters: ours 650, theirs 7850"),
        ({"dtype": "float64"}, "dtype: ours float32, theirs float64"),
        ({"topology": "beef"}, "topology: ours 9f2c, theirs beef"),
        ({"algorithm": "d-psgd lr=1"}, "algorithm: ours d-psgd lr=0.1, theirs d-psgd lr=1"),
        ({"run": "digits-8"}, "run: ours digits-7, theirs digits-8"),
    ],
)
def test_each_difference_is_named_with_both_values(make_hello, theirs, changes, message):
    error = check_hello(make_hello(), theirs(**changes), "1")
    assert error is not None
    assert error.message == message
    assert message == f"{error.field}: ours {error.ours}, theirs {error.theirs}"
    assert encode_body(error)


def test_differences_are_named_in_this_order(make_hello, theirs):
    changes = {
        "protocol_max": 9, "protocol_min": 9, "to": "x", "peer": "x", "parameters": 1,
        "dtype": "x", "topology": "x", "algorithm": "x", "run": "x",
    }  # fmt: skip
    order = []
    while error := check_hello(make_hello(), theirs(**changes), "1"):
        order.append(error.field)
        changes.pop(error.field, None)
        if error.field == "protocol":
            del changes["protocol_max"], changes["protocol_min"]
    assert order == [
        "protocol", "to", "peer", "parameters", "dtype", "topology", "algorithm", "run",
    ]  # fmt: skip


def test_a_peer_id_is_not_matched_by_a_part_of_another(make_hello, theirs):
    error = check_hello(make_hello(), theirs(), "12")
    assert error is not None
    assert error.message == "peer: ours 12, theirs 1"


def test_versions_that_overlap_agree(make_hello, theirs):
    assert check_hello(make_hello(), theirs(protocol_min=0, protocol_max=5), "1") is None


def test_many_neighbours_still_fit_an_error(make_hello, theirs):
    error = check_hello(make_hello(), theirs(peer="x"), [f"peer-{i}" for i in range(1000)])
    assert error is not None
    assert encode_body(error)


def test_without_neighbours_nobody_may_call(make_hello, theirs):
    error = check_hello(make_hello(), theirs(), ())
    assert error is not None
    assert error.message == "peer: ours nobody, theirs 1"
