"""Partitions: every sample once, nobody empty, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossipml.data import (
    PARTITIONERS,
    Dataset,
    describe_partition,
    from_arrays,
    load_source,
    part,
    partition,
    partition_options,
    train_test,
)
from gossipml.errors import ConfigError, DataError

DRAWN = ["iid", "dirichlet", "shards", "quantity-skew"]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_source("digits")


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_every_sample_has_one_owner_and_every_peer_enough(data):
    peers = data.draw(st.integers(1, 12))
    least = data.draw(st.integers(1, 3))
    samples = data.draw(st.integers(peers * least, 80))
    name = data.draw(st.sampled_from(DRAWN))
    options = {}
    if "alpha" in partition_options(name):
        options["alpha"] = data.draw(st.floats(1e-9, 1e6))
    if name == "dirichlet":
        options["balanced"] = data.draw(st.booleans())
    if name == "shards":
        options["per_peer"] = data.draw(st.integers(1, 5))
    classes = data.draw(st.none() | st.integers(1, 10))
    rng = np.random.default_rng(samples)
    y = rng.normal(size=samples) if classes is None else rng.integers(classes, size=samples)
    dataset = from_arrays(np.zeros((samples, 1)), y)

    parts = partition(name, dataset, peers, 7, min_samples=least, **options)

    assert len(parts) == peers
    assert min(len(indices) for indices in parts) >= least
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(samples))
    for peer, indices in enumerate(parts):
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()
        again = part(name, dataset, peers, 7, peer, min_samples=least, **options)
        np.testing.assert_array_equal(indices, again)


@pytest.mark.parametrize("name", DRAWN)
def test_another_seed_gives_another_partition(name, digits):
    first, other = (partition(name, digits, 8, seed) for seed in (1, 2))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_iid_is_even_and_alike(digits):
    facts = describe_partition(partition("iid", digits, 8, 0), digits)
    assert np.ptp(facts.sizes) <= 1
    assert facts.label_counts.sum() == len(digits)
    np.testing.assert_array_equal(facts.label_counts.sum(axis=1), facts.sizes)
    assert facts.label_skew < 0.15


@pytest.mark.parametrize("balanced", [False, True])
def test_small_alpha_gives_few_labels_and_large_alpha_all(balanced, digits):
    skews, labels = [], []
    for alpha in (0.01, 0.3, 100.0):
        parts = partition("dirichlet", digits, 8, 0, alpha=alpha, balanced=balanced)
        facts = describe_partition(parts, digits)
        skews.append(facts.label_skew)
        labels.append((facts.label_counts > 5).sum(axis=1).mean())
        assert not balanced or np.ptp(facts.sizes) <= 1
    assert skews[0] > skews[1] > skews[2]
    assert labels[0] < 3
    assert labels[2] > 9


def test_shards_give_few_labels_and_even_sizes(digits):
    facts = describe_partition(partition("shards", digits, 10, 0, per_peer=2), digits)
    assert (facts.label_counts > 0).sum(axis=1).max() <= 4
    assert np.ptp(facts.sizes) <= 2


def test_quantity_skew_changes_sizes_only(digits):
    facts = describe_partition(partition("quantity-skew", digits, 8, 0, alpha=0.3), digits)
    assert facts.sizes.max() > 5 * facts.sizes.min()
    largest = facts.label_counts[facts.sizes.argmax()]
    assert largest.max() < 0.15 * largest.sum()


def test_regression_targets_are_binned():
    diabetes = load_source("diabetes")
    parts = partition("shards", diabetes, 5, 0, per_peer=1)
    spreads = [np.ptp(diabetes.y[indices]) for indices in parts]
    assert np.mean(spreads) < 0.6 * np.ptp(diabetes.y)
    assert describe_partition(parts, diabetes).label_counts.shape == (5, 10)


def test_by_group_keeps_groups_whole_and_balances():
    groups = np.repeat([5, 9, 2, 7], [10, 6, 5, 3])
    dataset = from_arrays(np.zeros((24, 1)), np.zeros(24, int), groups=groups)
    parts = partition("by-group", dataset, 2, 0)
    assert [sorted(set(groups[indices])) for indices in parts] == [[5, 7], [2, 9]]


def test_given_takes_the_groups_as_peers():
    parts = partition("given", load_source("quadratics", peers=6), 6, 0)
    assert [indices.tolist() for indices in parts] == [[peer] for peer in range(6)]


def test_the_last_peers_are_not_starved():
    dataset = from_arrays(np.zeros((5, 1)), np.zeros(5, int))
    for name in DRAWN:
        assert [len(indices) for indices in partition(name, dataset, 5, 0)] == [1] * 5


def test_many_peers():
    dataset = load_source("least-squares", samples=20_000, features=2)
    for name in DRAWN:
        assert len(partition(name, dataset, 10_000, 0)) == 10_000


@pytest.mark.parametrize(
    ("name", "peers", "options", "error", "message"),
    [
        ("idd", 2, {}, ConfigError, "data.partition: unknown partition 'idd'; did you mean 'iid'?"),
        ("iid", 7, {}, DataError, "found 6 samples for 7 peers, expected at least 1 for each"),
        (
            "iid",
            4,
            {"min_samples": 2},
            DataError,
            "found 6 samples for 4 peers, expected at least 2",
        ),
        ("iid", 2, {"alpha": 1}, ConfigError, "data.alpha: unknown key"),
        ("iid", 0, {}, ConfigError, "found 0 peers and min_samples 1, expected >= 1"),
        (
            "dirichlet",
            2,
            {"alpha": 0},
            ConfigError,
            "data.alpha: found 0.0, expected a number above",
        ),
        ("dirichlet", 2, {"alpa": 1}, ConfigError, "data.alpa: unknown key; did you mean 'alpha'?"),
        ("quantity-skew", 2, {"alpha": -1}, ConfigError, "data.alpha: found -1.0"),
        ("shards", 2, {"per_peer": 0}, ConfigError, "data.per_peer: found 0"),
        (
            "shards",
            2,
            {"per_peer": 1.5},
            ConfigError,
            "data.per_peer: found 1.5 (float), expected int",
        ),
        ("by-group", 4, {}, DataError, "'by-group' found 3 groups for 4 peers"),
        ("by-group", 3, {"min_samples": 2}, DataError, "'by-group' gives peer 2 1 samples"),
        ("given", 2, {}, DataError, "'given' found groups 0 to 2 for 2 peers, expected 0 to 1"),
        ("given", 4, {}, DataError, "'given' gives peer 3 0 samples, expected at least 1"),
    ],
)
def test_refusals(name, peers, options, error, message):
    dataset = from_arrays(np.zeros((6, 1)), np.zeros(6, int), groups=[0, 0, 0, 1, 1, 2])
    with pytest.raises(error) as refusal:
        partition(name, dataset, peers, 0, **options)
    assert message in str(refusal.value)


def test_groups_and_peers_must_exist(digits):
    for name in ("by-group", "given"):
        with pytest.raises(DataError, match="data.partition: digits has no groups"):
            partition(name, digits, 2, 0)
    with pytest.raises(ConfigError, match="found peer 2, expected 0 to 1"):
        part("iid", digits, 2, 0, 2)


def test_every_partition_has_a_docstring():
    assert all(function.__doc__ for function in PARTITIONERS.values())


def test_split_is_a_function_of_the_seed(digits):
    train, test = train_test(digits, 0.2, 3)
    assert (len(train), len(test)) == (1438, 359)
    again, _ = train_test(digits, 0.2, 3)
    np.testing.assert_array_equal(train.X, again.X)
    other, _ = train_test(digits, 0.2, 4)
    assert not np.array_equal(train.y, other.y)
    numbered = from_arrays(np.arange(10.0), np.zeros(10, int))
    train, test = train_test(numbered, 0.3, 0)
    assert sorted([*train.X[:, 0], *test.X[:, 0]]) == list(range(10))
    assert (np.diff(train.X[:, 0]) > 0).all()


def test_split_edges():
    quadratics = load_source("quadratics", peers=2)
    train, test = train_test(quadratics, 0, 0)
    assert train is test is quadratics
    assert [len(side) for side in train_test(quadratics, 0.01, 0)] == [1, 1]
    assert [len(side) for side in train_test(quadratics, 0.99, 0)] == [1, 1]
    for fraction in (1, -0.1, float("nan")):
        with pytest.raises(ConfigError, match="data.test_fraction: found .*, expected a number in"):
            train_test(quadratics, fraction, 0)
    with pytest.raises(DataError, match="found 1 sample, expected 2 or more to split"):
        train_test(load_source("quadratics", peers=1), 0.5, 0)
