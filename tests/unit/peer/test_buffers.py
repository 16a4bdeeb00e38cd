"""Memory is lent again only when nobody has it any more, whatever they hold of it."""

import numpy as np
import pytest

from gossipml.peer.buffers import MOST, Buffers


def address(array):
    return array.__array_interface__["data"][0]


HOLDS = {
    "array": lambda buffer: buffer,
    "part": lambda buffer: buffer[3:5],
    "other type": lambda buffer: buffer[:8].view(np.float32).reshape(1, 2),
    "memoryview": lambda buffer: memoryview(buffer)[2:],
    "array on a memoryview": lambda buffer: np.frombuffer(memoryview(buffer)[:8], np.float64),
}


@pytest.mark.parametrize("hold", HOLDS.values(), ids=HOLDS)
def test_what_is_held_is_not_lent(hold):
    buffers = Buffers(16)
    held = hold(buffers.take())
    place = address(np.asarray(held)) // 16
    others = [buffers.take() for _ in range(2)]
    assert all(address(other) // 16 != place for other in others)
    del held, others
    assert len({address(buffers.take()) for _ in range(6)}) <= 3


def test_one_that_comes_back_at_once_is_the_only_one():
    buffers = Buffers(16)
    assert len({address(buffers.take()) for _ in range(5)}) == 1
    assert buffers.take().nbytes == 16


def test_what_is_held_for_long_is_let_go():
    """Whoever keeps every model has it, and the peer keeps no more than a few."""
    buffers = Buffers(8)
    held = []
    for k in range(3 * MOST):
        held.append(buffers.take().view(np.float64))
        held[-1][:] = k
    assert [array[0] for array in held] == list(range(3 * MOST))
    assert len(buffers._arrays) == MOST
