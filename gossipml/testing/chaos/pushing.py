"""What is promised of peers that push shares at their own pace: each share counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from gossipml.testing.chaos.judging import Judge
from gossipml.testing.chaos.watching import CLOSE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

PACE = 0.1  # of what the graph allows: peers send only when they have heard something
FEW = 3  # rounds, in which nobody need have been heard


class PushJudge(Judge):
    """Judges a simulation whose peers push shares."""

    def judge(self) -> None:
        self._everybody_ends()
        self._nothing_happens_without_a_cause()
        self._silence_is_noticed()
        self._who_comes_begins()
        self._edges_come_back()
        self._averages_stay_among_the_first_values()
        self._mass_is_kept()
        self._peers_agree()

    def _edges_come_back(self) -> None:
        """Some time after the last fault every two neighbours that live are connected."""
        settled = self.settled_s
        if self.case.conditions.loss:
            return
        for i in range(self.case.peers):
            for j in self.peers[i].schedule.neighbours(i):
                end = min(self._left_s(i), self._left_s(j))
                if {i, j} & self.gone or end <= settled:
                    continue
                self.watch.promised["edges back"] += 1
                if not self._up(i, j, settled, end):
                    self._broken(f"peer {i} was not connected to peer {j} from {settled:.1f} s on")
                    return

    def _averages_stay_among_the_first_values(self) -> None:
        """u / w is a weighted mean of what it was in the beginning, whatever counts how often."""
        if self.case.method != "push-sum":
            return
        first = np.stack([peer.x0 for peer in self.peers])
        low, high = first.min(0) - CLOSE, first.max(0) + CLOSE
        self.watch.promised["within"] += 1
        for i, course in self.watch.course.items():
            for time, x in course:
                if not ((low <= x) & (x <= high)).all():
                    self._broken(f"{time:.3f} s peer {i} has an average beyond all first values")
                    return

    def _mass_is_kept(self) -> None:
        """Σ w is the number of peers, and Σ u of averages what it was in the beginning.

        A process that dies takes its part with it, and who comes late is given one by others.
        What a neighbour that is gone may have taken without saying so is reported, with a bound.
        """
        if len(self.ended) < len(self.ends) or self.gone or self.new or self.watch.handed:
            return
        states = [end.state for end in self.ended.values()]
        found = [sum(state.w for state in states)]
        expected = [np.array([float(self.case.peers)])]
        if self.case.method == "push-sum":
            found.append(sum(state.u for state in states))
            expected.append(sum((peer.x0 for peer in self.peers), np.zeros(1)))
        off = float(np.linalg.norm(np.concatenate(found) - np.concatenate(expected)))
        told = [e.detail for _, e in self.watch.events if e.kind == "unsettled"]
        bound = sum(float(detail.split()[3]) for detail in told)
        scale = max(1.0, float(np.abs(np.concatenate(expected)).max()))
        broke = any(event.kind == "disconnected" for _, event in self.watch.events)
        self.watch.promised["mass"] += 1
        self.watch.promised["mass though edges broke"] += broke
        if off > CLOSE * scale + bound * 1.01:  # it is told in three figures
            self._broken(f"mass is off by {off:.3g}, and {bound:.3g} is accounted for")

    def _peers_agree(self) -> None:
        """From when all edges are up again averages meet, at a tenth of the graph's own pace.

        When a peer plays is random, so the rounds count of the one that plays fewest.
        """
        if self.case.method != "push-sum" or self.case.conditions.loss:
            return
        assert self.case.pushes is not None
        interval = self.case.pushes.interval_s
        settled = self.settled_s
        for group, rate in self._groups():
            end = min(self._left_s(i) for i in group)
            rounds = min(self._rounds(i, settled + interval, end) for i in group)
            if rounds < FEW:
                continue
            self.watch.promised["agreement of shares"] += 1
            # What is on its way then was sent some rounds before.
            before = self._apart(group, settled - 3 * interval, settled + interval)
            after = self._apart(group, end, end)
            bound = before * rate ** (PACE * rounds)
            if after > bound + CLOSE:
                self._broken(
                    f"peers {group} were {before:.3g} apart at {settled:.1f} s, and are "
                    f"{after:.3g} in the end, expected at most {bound:.3g}"
                )
                return

    # --- small parts -------------------------------------------------------------------

    def _up(self, i: int, j: int, begin_s: float, end_s: float) -> bool:
        """Return whether a peer had a connection to another all the time."""
        up = False
        for time, event in self.watch.events:
            if time > end_s:
                break
            if event.peer != str(i) or event.about != str(j):
                continue
            if event.kind in ("connected", "disconnected", "lost"):
                if time > begin_s:
                    return False
                up = event.kind == "connected"
        return up

    def _apart(self, group: list[int], begin_s: float, end_s: float) -> float:
        """Return how far apart a group's models were, at the beginning of a time and in it."""
        models = []
        for i in group:
            before = [x for time, x in self.watch.course[i] if time <= begin_s]
            models += before[-1:] or [self.peers[i].x0]
            models += [x for time, x in self.watch.course[i] if begin_s < time <= end_s]
        return float(np.linalg.norm(np.ptp(np.stack(models), axis=0)))

    def _rounds(self, i: int, begin_s: float, end_s: float) -> int:
        """Return how many rounds a peer came to the end of in a time."""
        return sum(begin_s < time <= end_s for time, _ in self.watch.course[i])

    def _groups(self) -> list[tuple[list[int], float]]:
        """Return who can reach whom in the end, and how fast a group agrees."""
        graph: nx.Graph[int] = nx.Graph()
        for i in self.ended:  # also who was started again after a crash
            graph.add_node(i)
            graph.add_edges_from(
                (i, j) for j in self.peers[i].schedule.neighbours(i) if j in self.ended
            )
        return [
            (sorted(group), _rate(graph.subgraph(group)))
            for group in nx.connected_components(graph)
            if len(group) > 1
        ]


def _rate(graph: nx.Graph[int]) -> float:
    """Return what a round leaves of a disagreement, by shares 1 / (1 + degree) sent at any time.

    The rest of a flow at unit rate along A − I, A the matrix of shares: exp(λ − 1) at most.
    """
    A = nx.to_numpy_array(graph, nodelist=sorted(graph)) + np.eye(len(graph))
    second = np.sort(np.linalg.eigvals(A / A.sum(0)).real)[-2]
    return float(np.exp(second - 1))
