"""Peers that do not wait for each other, on the virtual network: what theory says of each kind."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest

import gossipml
from gossipml import average, data, push, wire
from gossipml.algorithms.base import Algorithm, Facts, State
from gossipml.errors import ConfigError
from gossipml.experiment import experiment_from
from gossipml.models import Softmax
from gossipml.peer.account import Account
from gossipml.peer.pace import Moments, Wakeups
from gossipml.peer.tokens import LetterLink
from gossipml.simulation import simulate

KINDS = {  # kind: method that only averages, method that trains, graph
    "async": ("gossip", "d-psgd", "ring"),
    "pairwise": ("gossip", "ad-psgd", "ring"),
    "push": ("push-sum", "sgp", "exponential"),
    "tokens": ("gossip", "gossip-learning", "ring"),
}
ENGINES = {"async": ("virtual", "stacked"), "pairwise": ("virtual", "stacked")}
ON_ENGINES = [(kind, engine) for kind in KINDS for engine in ENGINES.get(kind, ("virtual",))]


def experiment(kind, name=None, graph=None, peers=8, rounds=30, **sections):
    table = {
        "seed": 5,
        "rounds": rounds,
        "evaluate_every": rounds,
        "baselines": False,
        "topology": {"graph": graph or KINDS[kind][2], "peers": peers},
        "data": {"source": "iris"},
        "algorithm": {"name": name or KINDS[kind][1], "lr": 0.05, "batch_size": 8},
        "schedule": {"kind": kind},
    }
    for key, section in sections.items():
        table[key] = {**table.get(key, {}), **section} if isinstance(section, dict) else section
    return experiment_from(table)


def bowls(kind, name, *, engine="stacked", peers=8, rounds=2000, **sections):
    """Return squared distances of the mean model: to the optimum of all, to that by speed."""
    source = data.load_source("quadratics", seed=5, dtype="float64", dimension=4, peers=peers)
    given = experiment(
        kind, name, peers=peers, rounds=rounds,
        **{"data": {"source": "quadratics", "partition": "given", "test_fraction": 0.0,
                    "dimension": 4, "peers": peers},
           "model": {"name": "quadratic", "dtype": "float64"}, **sections},
    )  # fmt: skip
    x = simulate(given, engine=engine).parameters.mean(axis=0)
    pace = given.schedule
    wakeups = Wakeups(
        interval_s=0.1, stragglers=pace.stragglers, slowdown=pace.slowdown, wake=pace.wake
    )
    speed = 1 / wakeups.means(5, peers)
    A = np.tensordot(speed, source.X, 1)
    b = np.einsum("i,ijk,ik->j", speed, source.X, source.y)
    by_speed = np.linalg.solve(A, b)
    return np.square(x - source.optimum).sum(), np.square(x - by_speed).sum()


class FromAfar(Algorithm):
    """Averages alone, from a model that is each peer's own."""

    facts = Facts(averages=True)

    def start(self, x0, degree):
        s = State(x=x0)
        s.began = np.zeros((*x0.shape[:-1], 1), x0.dtype)
        return s

    def round(self, s, problem):
        x = np.where(s.began == 0, problem.gradient(s.x), s.x)
        s.began = np.ones_like(s.began)
        (s.x,) = yield average(x)


def averaged(algorithm, peers, rounds, *, graph="ring", **schedule):
    """Return the models of peers that began far from each other, each from its own gradient."""
    rng = np.random.default_rng(0)
    return gossipml.simulate(
        graph=getattr(gossipml.topology, graph)(peers), rounds=rounds, batch_size=None,
        data=(rng.normal(size=(20 * peers, 3)), rng.integers(3, size=20 * peers)),
        model=Softmax((3,), 3, dtype="float64"), algorithm=algorithm, schedule=schedule,
    ).parameters  # fmt: skip


@pytest.mark.parametrize(("kind", "engine"), ON_ENGINES)
def test_they_learn(kind, engine):
    given = experiment(kind, rounds=80, algorithm={"lr": 0.2})
    summary = simulate(given, engine=engine).summary
    assert summary.test_accuracy.min > 0.6
    assert summary.lost_peers == []
    assert summary.virtual_s == pytest.approx(8.0, abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bits(kind):
    first, again = (simulate(experiment(kind)).summary.model_sha256 for _ in range(2))
    assert first == again
    other = simulate(experiment(kind, seed=6)).summary.model_sha256
    assert first != other


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("peers", [1, 2])
def test_one_and_two_peers(kind, peers):
    summary = simulate(experiment(kind, graph="complete" if kind != "push" else None,
                                  peers=peers)).summary  # fmt: skip
    assert len(summary.model_sha256) == peers
    assert np.isfinite(summary.test_loss.max)


def test_meetings_keep_the_mean_and_shrink_the_distance_as_theory_says():
    """Boyd, Ghosh, Prabhakar, Shah 2006: E‖x − x̄‖² shrinks by λ2(E W) a meeting."""
    n = 8
    start, end = (averaged(FromAfar(lr=0.1), n, rounds, kind="pairwise") for rounds in (3, 23))
    np.testing.assert_allclose(end.mean(axis=0), start.mean(axis=0), rtol=0, atol=1e-12)
    W = np.zeros((n, n))  # of one meeting, in expectation
    for i in range(n):
        for j in ((i - 1) % n, (i + 1) % n):
            M = np.eye(n)
            M[np.ix_([i, j], [i, j])] = 0.5
            W += M / (2 * n)
    shrinks = np.linalg.eigvalsh(W)[-2]
    meetings = 20 * n / 2
    spread = [np.square(x - x.mean(axis=0)).sum() for x in (start, end)]
    # one run of a random product: the exponent is near its mean, never far above
    assert 0.6 < np.log(spread[1] / spread[0]) / (meetings * np.log(shrinks)) < 3


@pytest.mark.parametrize("engine", ["virtual", "stacked"])
def test_fast_peers_pull_the_model_to_their_data_unless_the_step_makes_up_for_it(engine):
    """Lian et al. 2018: the optimum of Σ p_i f_i, or of all."""
    slow = {"schedule": {"stragglers": 0.5, "slowdown": 10.0}}
    options = {"graph": "complete", "engine": engine, "rounds": 500, "peers": 4}
    to_all, to_speed = bowls(
        "pairwise", "ad-psgd", algorithm={"lr": 0.02, "batch_size": "full"}, **slow, **options
    )
    assert to_all < to_speed / 4
    to_all_without, to_speed_without = bowls(
        "pairwise", "ad-psgd", **slow, **options,
        algorithm={"lr": 0.02, "batch_size": "full", "correct_speed": False},
    )  # fmt: skip
    assert to_all < to_all_without / 3
    assert to_speed_without < to_speed


@pytest.mark.parametrize("engine", ["virtual", "stacked"])
def test_swift_makes_up_for_speeds(engine):
    to_all, to_speed = bowls(
        "async", "swift", graph="complete", engine=engine, rounds=600, peers=4,
        algorithm={"lr": 0.01, "batch_size": "full", "slowest": 0.2},
        schedule={"stragglers": 0.5, "slowdown": 4.0},
    )  # fmt: skip
    assert to_all < 2e-3
    assert to_speed > 20 * to_all


@pytest.mark.parametrize("engine", ["virtual", "stacked"])
def test_what_is_stale_does_not_count(engine):
    """With a bound of one round, a peer hears little of one that is a hundred times slower."""
    distance = []
    for staleness in (1, 1000):
        given = experiment(
            "async", "d-psgd-cta", graph="star", peers=6, rounds=150,
            schedule={"staleness": staleness, "stragglers": 0.5, "slowdown": 100.0},
            algorithm={"lr": 0.1},
        )  # fmt: skip
        distance.append(simulate(given, engine=engine).summary.consensus_distance)
    # old models hold everybody back; without them those that are there go on
    assert distance[0] > 1.2 * distance[1]


def test_push_sum_finds_the_average_though_nobody_waits():
    """Each starts from its own gradient: x must become the mean of them, and stay it."""

    class PushAfar(Algorithm):
        facts = Facts(averages=True, doubly_stochastic=False, tolerates_loss=False, scalars=1)

        def start(self, x0, degree):
            return State(x=x0, u=np.zeros_like(x0), w=np.zeros(1, x0.dtype), began=np.zeros(1))

        def round(self, s, problem):
            if not s.began:
                s.u, s.w, s.began = problem.gradient(s.x), np.ones_like(s.w), np.ones(1)
                given.append(s.u)
            s.u, s.w = yield push(s.u, s.w)
            s.x = s.u / s.w

    given = []
    found = averaged(
        PushAfar(lr=0.1), 7, 250, graph="exponential", kind="push", stragglers=0.3, slowdown=3.0
    )
    expected = np.mean(given, axis=0)
    assert np.ptp(given, axis=0).max() > 0.1
    np.testing.assert_allclose(found, np.tile(expected, (7, 1)), rtol=0, atol=1e-9)


# --- tokens -----------------------------------------------------------------------------------


def test_letters_that_cannot_be_written_do_not_pile_up():
    """The receiver keeps the newest four, so no more of them wait for a slow link."""
    link = LetterLink(1, "1")
    session = SimpleNamespace(incarnation=1, far=0, outbox=deque(), close=lambda: None)
    session.post = session.outbox.append
    link.attach(session)
    link.post(wire.Heartbeat(0, 0))
    for round in range(9):
        link.post(wire.Data(round, 0, b"x"))
    link.post(wire.Bye("finished", 9))
    waiting = list(session.outbox)
    assert [e.round for e in waiting if isinstance(e, wire.Data)] == [5, 6, 7, 8]
    assert isinstance(waiting[-1], wire.Bye)


def test_accounts_are_those_of_the_paper():
    """Danner, Jelasity 2018, for C = 20 and A = 10."""
    balances = (0, 5, 9, 10, 15, 20)
    generalised, randomised = Account(strategy="generalised"), Account()
    assert [generalised.reactive(a, True, 0.5) for a in balances] == [0, 1, 1, 1, 2, 2]
    assert [generalised.reactive(a, False, 0.5) for a in balances] == [0, 0, 0, 0, 1, 1]
    assert [generalised.proactive(a) for a in (0, 19, 20)] == [0, 0, 1]
    found = [randomised.proactive(a) for a in balances]
    assert found == pytest.approx([0, 0, 0, 1 / 11, 6 / 11, 1])
    draws = np.linspace(0, 1, 1000, endpoint=False)
    for a in balances:
        mean = np.mean([randomised.reactive(a, True, d) for d in draws])
        assert mean == pytest.approx(a / 10, abs=2e-3)
        assert randomised.reactive(a, False, 0.99) == 0
    assert [Account(strategy="simple").reactive(a, False, 0.5) for a in (0, 1)] == [0, 1]
    assert Account(strategy="proactive").proactive(0) == 1
    assert Account(strategy="proactive").reactive(20, True, 0.9) == 0


@pytest.mark.parametrize("strategy", ["proactive", "simple", "generalised", "randomised"])
def test_nobody_sends_more_than_it_earns(strategy):
    """One message a wake-up at most, less what is left in the account."""
    given = experiment("tokens", graph="random-regular", peers=12, rounds=60,
                       schedule={"account": strategy, "capacity": 5, "spend": 3})  # fmt: skip
    result = simulate(given)
    size = 4 * (result.parameters.shape[1] + 1)
    for peer, end in result.history.finished.items():
        moments = Moments(Wakeups(interval_s=0.1), 5, int(peer))
        woken = 0
        while moments.due <= 6.0:
            woken += 1
            moments.advance()
        assert end.payload_bytes_sent / size <= woken + 0.5
        assert end.payload_bytes_sent / size >= woken - 5 - 2
    assert result.summary.consensus_distance < 1


# --- refusals and losses ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "sections", "message"),
    [
        ("async", {"algorithm": {"name": "gradient-tracking"}}, "needs every message, each once"),
        ("async", {"algorithm": {"name": "sgp"}, "topology": {"graph": "exponential"}}, "pushes"),
        ("async", {"algorithm": {"name": "multi-gossip"}}, "waits 2 times a round"),
        ("pairwise", {"algorithm": {"name": "power-gossip"}}, "same mixing weights throughout"),
        ("push", {"algorithm": {"name": "d-psgd"}, "topology": {"graph": "ring"}}, "does not push"),
        ("tokens", {"algorithm": {"name": "exact-diffusion"}}, "same mixing weights throughout"),
        ("tokens", {"schedule": {"kind": "tokens", "interval_ms": 0}}, "tokens come with time"),
        ("tokens", {"schedule": {"kind": "tokens", "spend": 21}}, "expected 1 to capacity"),
    ],
)  # fmt: skip
def test_what_theory_forbids_is_refused(kind, sections, message):
    with pytest.raises(ConfigError, match=message):
        simulate(experiment(kind, **sections))


@pytest.mark.parametrize("kind", ["push", "tokens"])
def test_the_stack_says_who_can(kind):
    with pytest.raises(ConfigError, match=f"'{kind}', which the stacked engine has not; use"):
        simulate(experiment(kind), engine="stacked")
