"""From a situation to choices: pure rules, each with its reason and where it comes from."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gossipml import topology
from gossipml.recommendation.situation import MEMORY, Situation, measure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gossipml.experiment import Experiment

FAR_MS = 10.0
"""Latency from which several local steps for each message pay."""

TIGHT_MS = 10.0
"""Time to send a model from which compression pays, if it is longer than the latency."""

LOCAL_STEPS = 5
_BETTER = 1.25  # how many times more effective neighbours are worth another graph
_COMPARED = 500  # peers up to which graphs are compared by them


class Choice(msgspec.Struct, frozen=True):
    """One choice with its reason in a line."""

    what: str  # method, topology, weights, compressor, lr, …
    value: str
    reason: str
    source: str  # the paper, or where it was measured


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """What ``gossipml recommend`` prints."""

    situation: Situation
    choices: list[Choice]
    set: list[str]  # the overrides that apply them


class _Method(NamedTuple):
    name: str
    reason: str
    source: str
    compressor: str = "none"


def recommend(experiment: Experiment) -> Recommendation:
    """Return what to use for an experiment: its situation, the choices and their overrides.

    Raises
    ------
    GossipError
        As :func:`measure`.
    """
    return advise(measure(experiment))


def advise(s: Situation) -> Recommendation:
    """Return what to use in a situation."""
    choices: list[Choice] = []
    settings: list[str] = []
    if s.directed and not s.regular and not s.varies and s.pace not in ("sync", "push"):
        s = msgspec.structs.replace(s, pace="push")
        choices.append(Choice(
            "schedule", "push", "no other pace than sums that are pushed fits links that go one "
            "way with degrees that differ", "Kempe, Dobra, Gehrke 2003",
        ))  # fmt: skip
        settings.append("schedule.kind=push")
    method = _method(s)
    choices.append(Choice("method", method.name, method.reason, method.source))
    settings.append(f"algorithm.name={method.name}")
    graph = _graph(s)
    choices.append(graph)
    if graph.value != s.graph:
        settings.append(f"topology.graph={graph.value}")
    for choice, key in (*_weights(s, graph.value), *_compressor(method, s), *_steps(method, s)):
        choices.append(choice)
        settings.append(f"{key}={choice.value}")
    return Recommendation(situation=s, choices=choices, set=settings)


def _method(s: Situation) -> _Method:
    if s.peers == 1:
        return _Method("d-psgd", "one peer has nobody to average with: it is plain SGD", "–")
    if s.pace != "sync":
        return _at_own_pace(s)
    if s.directed and not s.regular and not s.varies:
        if s.differ:
            return _Method(
                "push-diging", "links go one way, degrees and data differ: tracked gradients in "
                "sums that are pushed are exact", "Nedić, Olshevsky, Shi 2017, arXiv:1607.03218",
            )  # fmt: skip
        return _Method(
            "sgp", "links go one way and degrees differ: only sums that are pushed keep the mean",
            "Assran, Loizou, Ballas, Rabbat 2019, arXiv:1811.10792",
        )  # fmt: skip
    if s.varies or s.directed:
        return _on_changing_or_directed(s)
    return _static(s)


def _at_own_pace(s: Situation) -> _Method:
    if s.pace == "push":
        return _Method(
            "sgp", "shares that are pushed and added up when they come",
            "Assran, Loizou, Ballas, Rabbat 2019, arXiv:1811.10792",
        )  # fmt: skip
    if s.pace == "tokens":
        return _Method(
            "gossip-learning", "models walk at random and are updated where they come",
            "Ormándi, Hegedűs, Jelasity 2013, arXiv:1109.1396",
        )  # fmt: skip
    if s.pace == "pairwise":
        return _Method(
            "ad-psgd", "peers meet in pairs; steps divided by a peer's speed keep the fast from "
            "pulling the model to their data", "Lian, Zhang, Zhang, Liu 2018, arXiv:1710.06952",
        )  # fmt: skip
    if s.stragglers:
        return _Method(
            "swift", "nobody waits, and what fast peers do counts for less each time",
            "Bornstein, Rabbani, Wang, Bedi, Huang 2022, arXiv:2210.14026",
        )  # fmt: skip
    if s.differ:
        return _quasi_global("late messages do no lasting harm, and the bias of data that differ")
    return _Method(
        "d-psgd", "data are alike, and a late message does no lasting harm: no dual state is lost",
        "Lian et al. 2017, arXiv:1705.09056",
    )  # fmt: skip


def _on_changing_or_directed(s: Situation) -> _Method:
    if s.differ and s.balanced:
        where = "weights change by rounds" if s.varies else "links go one way, degrees are equal"
        return _Method(
            "gradient-tracking", f"data differ and {where}: it is the exact method that stays "
            "stable there", "Nedić, Olshevsky, Shi 2017, arXiv:1607.03218",
        )  # fmt: skip
    reason = "data are alike: plain averaging is as good as any"
    if s.differ:
        reason = "columns sum to 1 in expectation only, which no exact method admits"
    return _Method("d-psgd", reason, "Koloskova et al. 2020, arXiv:2003.10422")


def _static(s: Situation) -> _Method:
    if s.transfer_ms >= TIGHT_MS and s.transfer_ms > s.latency_ms:
        if s.differ:
            return _Method(
                "lead", f"a model takes {s.transfer_ms:.3g} ms to send and data differ: exact with "
                "2 bits a number", "Liu, Li, Wang, Tang, Yan 2021, arXiv:2007.00232", "max-norm",
            )  # fmt: skip
        return _Method(
            "choco-sgd", f"a model takes {s.transfer_ms:.3g} ms to send: compressed differences "
            "keep the mean", "Koloskova, Stich, Jaggi 2019, arXiv:1902.00340", "sign",
        )  # fmt: skip
    if s.latency_ms >= FAR_MS and s.noisy:
        if s.differ:
            return _Method(
                "led", f"a message takes {s.latency_ms:.3g} ms, gradients are noisy and data "
                f"differ: {LOCAL_STEPS} local steps each and still exact",
                "Alghunaim 2024, arXiv:2211.00889",
            )  # fmt: skip
        return _Method(
            "local-sgd", f"a message takes {s.latency_ms:.3g} ms and data are alike: "
            f"{LOCAL_STEPS} local steps each", "Stich 2018, arXiv:1805.09767",
        )  # fmt: skip
    if not s.differ:
        return _Method(
            "d-psgd", "data are alike: averaging n models divides the noise by n, whatever the "
            "graph", "Lian et al. 2017, arXiv:1705.09056",
        )  # fmt: skip
    if not s.convex:
        return _quasi_global("the loss has many valleys, and the bias of data that differ")
    return _Method(
        "exact-diffusion", "data differ on a graph that stays: exact with one vector a round, "
        "stable up to 1.5/L on every graph",
        "Yuan, Ying, Zhao, Sayed 2018, arXiv:1702.05122; Li, Shi, Yan 2019, arXiv:1704.07807",
    )  # fmt: skip


def _quasi_global(why: str) -> _Method:
    return _Method(
        "qg-dsgdm", f"{why} is lowered by a momentum that follows all peers' moves, for one vector "
        "a round", "Lin, Karimireddy, Stich, Jaggi 2021, arXiv:2102.04761",
    )  # fmt: skip


def _graph(s: Situation) -> Choice:
    vogels = "Vogels, Hendrikx, Jaggi 2022, arXiv:2206.03093"
    if s.given or s.varies or s.directed or s.peers <= 4:
        why = "its links are given" if s.given else "it fits the rounds that it is used in"
        if s.peers <= 4 and not s.given:
            why = "among so few peers the graph hardly matters"
        return Choice("topology", s.graph, why, "–")
    most = max(4, round(log2(s.peers)))
    sparse = [name for name in _candidates(s.peers) if name != s.graph]
    if s.peers > _COMPARED:
        if s.graph in ("ring", "path", "star", "tree", "grid"):
            return Choice(
                "topology", "random-regular", "four links each, and a gap that does not fall with "
                "the number of peers", "Friedman 2004, arXiv:cs/0405020",
            )  # fmt: skip
        return Choice("topology", s.graph, "its degree is that of graphs that mix well", "–")
    found = {name: _neighbours(name, s.peers) for name in sparse}
    best = max(found, key=lambda name: found[name], default=s.graph)
    crowded = s.degree_max > 2 * most and s.transfer_ms >= TIGHT_MS
    own = s.neighbours
    if not found or own is None or (own * _BETTER >= found[best] and not crowded):
        told = "" if own is None else f" ({own:.3g} effective neighbours)"
        return Choice("topology", s.graph, f"no sparse graph is much better{told}", vogels)
    if crowded:
        why = f"{s.degree_max} messages a round are too many for these links: {most} at most here"
    else:
        why = f"{found[best]:.3g} effective neighbours where {s.graph} has {own:.3g}"
    return Choice("topology", best, why, vogels)


def _candidates(peers: int) -> Iterator[str]:
    """Yield graphs of small degree that exist with so many peers."""
    if peers & (peers - 1) == 0:
        yield "hypercube"
    if any(peers % rows == 0 for rows in range(3, int(peers**0.5) + 1)):
        yield "torus"
    yield "random-regular"


def _neighbours(graph: str, peers: int) -> float:
    return topology.effective_neighbors(
        topology.mixing(topology.make_topology(graph, peers)), MEMORY
    )


def _weights(s: Situation, graph: str) -> Iterator[tuple[Choice, str]]:
    if s.varies:
        return
    key = "topology.weights"
    if s.directed:
        if s.regular and s.pace != "push":
            yield (
                Choice(
                    "weights", "uniform", "all degrees are equal: rows and columns sum to 1", "–"
                ),
                key,
            )
        else:
            yield Choice(
                "weights", "column-stochastic", "senders split what they have: the sum is kept",
                "Kempe, Dobra, Gehrke 2003",
            ), key  # fmt: skip
    elif s.pace == "sync" and graph in ("ring", "path", "star") and 4 < s.peers <= _COMPARED:
        yield Choice(
            "weights", "fastest", "a closed form, with the largest gap that weights from 0 have",
            "Boyd, Diaconis, Xiao 2004",
        ), key  # fmt: skip
    else:
        yield Choice(
            "weights", "metropolis", "need the neighbours' degrees only, and fit every graph",
            "Xiao, Boyd, Kim 2007",
        ), key  # fmt: skip


def _compressor(method: _Method, s: Situation) -> Iterator[tuple[Choice, str]]:
    reasons = {
        "none": (
            f"a model is sent in {s.transfer_ms:.3g} ms: bytes are not what a round waits for",
            "–",
        ),
        "sign": (
            "one bit a number, with its own γ of 1; no accuracy lost in sims/compression.toml",
            "Bernstein et al. 2018, arXiv:1802.04434",
        ),
        "max-norm": ("unbiased, as LEAD needs it", "Liu et al. 2021, arXiv:2007.00232"),
    }
    reason, source = reasons[method.compressor]
    if method.compressor == "none" and s.transfer_ms == 0:
        reason = "neither [network] nor the topology file states a bandwidth"
    elif method.compressor == "none" and s.transfer_ms >= TIGHT_MS:
        reason = f"{method.name} sends its model itself"
    yield Choice("compressor", method.compressor, reason, source), "compression.name"


def _steps(method: _Method, s: Situation) -> Iterator[tuple[Choice, str]]:
    if method.name in ("led", "local-sgd"):
        yield Choice(
            "local steps", str(LOCAL_STEPS), "so many steps for each message", method.source
        ), "algorithm.local_steps"  # fmt: skip
    if s.smoothness:
        lr, formula = _rate(method.name, s, s.smoothness)
        yield Choice(
            "lr", f"{float(f'{lr:.2g}')}", f"{formula} to start from, L = {s.smoothness:.3g} "
            "measured; then sweep twice and half of it", method.source,
        ), "algorithm.lr"  # fmt: skip
    if s.differ and method.name in ("d-psgd", "local-sgd", "qg-dsgdm", "sgp", "choco-sgd"):
        yield Choice(
            "lr schedule", "cosine", "a step that falls takes with it what the data that differ "
            "leave of a bias", "Koloskova et al. 2020, arXiv:2003.10422",
        ), "algorithm.lr_schedule"  # fmt: skip


def _rate(name: str, s: Situation, L: float) -> tuple[float, str]:
    """Return the step to start from, and its formula."""
    if name == "gradient-tracking" and s.gap is not None:
        return min(1 / (2 * L), s.gap / L), "min(1/(2L), gap/L)"
    if name == "led":
        return 1 / (2 * LOCAL_STEPS * L), "1/(2KL)"
    if name == "qg-dsgdm":
        return 1 / (2 * L), "1/(2L)"
    if name in ("gradient-tracking", "push-diging"):
        return 1 / (10 * L), "1/(10L)"
    if name in ("d-psgd", "exact-diffusion"):
        return 1 / L, "1/L"
    return 1 / (2 * L), "1/(2L)"
