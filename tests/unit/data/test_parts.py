"""Who holds which samples, for many peers: views by peer of arrays that hold all."""

from __future__ import annotations

import numpy as np
import pytest

from gossipml.data import Parts, PartView

X = np.arange(20.0).reshape(10, 2)
y = np.arange(10)


def test_parts_of_owners_are_their_samples():
    parts = Parts.of_owners(np.array([2, 0, 2, 1, 0, 2]), 4)
    assert [part.tolist() for part in parts] == [[1, 4], [3], [0, 2, 5], []]
    assert len(parts) == 4
    assert [part.tolist() for part in parts[1:3]] == [[3], [0, 2, 5]]


def test_a_view_is_a_mapping_of_each_peers_samples():
    starts, sizes = np.array([0, 4, 2]), np.array([4, 6, 3])  # peers may share samples
    view = PartView(X, y, starts, sizes, range(3))
    assert list(view) == [0, 1, 2]
    assert len(view) == 3
    for peer, (own, targets) in view.items():
        rows = slice(starts[peer], starts[peer] + sizes[peer])
        np.testing.assert_array_equal(own, X[rows])
        np.testing.assert_array_equal(targets, y[rows])
        assert np.shares_memory(own, X)
        assert np.shares_memory(targets, y)


def test_a_view_of_some_peers_goes_by_their_numbers():
    view = PartView(X, y, np.array([5, 1]), np.array([2, 3]), [4, 90])
    assert list(view) == [4, 90]
    assert view[4][1].tolist() == [5, 6]
    assert view[90][1].tolist() == [1, 2, 3]
    assert 0 not in view
    assert view.get(1) is None
    for absent in (0, 5, -1, 91):
        with pytest.raises(KeyError):
            view[absent]


def test_a_range_of_peers_has_no_others():
    view = PartView(X, y, np.array([0, 5]), np.array([5, 5]), range(7, 9))
    assert view[8][1].tolist() == [5, 6, 7, 8, 9]
    with pytest.raises(KeyError):
        view[6]
