"""Rebuild every topology file here and the table in README.md: python topologies/build.py

Shapes come from gossipml.topology, links of real networks are typed below from the
sources named beside them. The result is the same bytes on every machine.
"""

from __future__ import annotations

import sys
from itertools import combinations
from math import asin, cos, pi, radians, sin, sqrt
from pathlib import Path
from typing import Any, NamedTuple

from gossipml.topology import Link, Node, Topology, describe, make_graph, save_topology

Place = tuple[float, float]  # longitude, latitude
City = tuple[str, float, float]  # id, longitude, latitude


class Entry(NamedTuple):
    """A file, and its words in the table."""

    topology: Topology
    what: str
    source: str = "generated"


KM_PER_MS = 299_792.458 / 1000 * 2 / 3  # light in fibre
EARTH_KM = 6371.0


def main(folder: Path) -> None:
    """Write all files and the README into a folder."""
    entries = [*shapes(), *social(), *backbones(), *designed(), *local()]
    for entry in entries:
        save_topology(entry.topology, folder / f"{entry.topology.name}.json")
    (folder / "README.md").write_text(readme(entries), encoding="utf-8")


def shapes() -> list[Entry]:
    """Return the textbook graphs."""
    return [
        shape("ring-8", "cycle"),
        shape("ring-16", "cycle"),
        shape("path-8", "line"),
        shape("star-8", "one centre, seven leaves"),
        shape("complete-8", "everybody linked to everybody"),
        shape("grid-4x4", "4 rows, 4 columns", peers=16, square=4),
        shape("torus-4x4", "grid with closed rows and columns", peers=16, square=4),
        shape("hypercube-16", "numbers that differ in one bit are linked"),
        shape("tree-15", "full binary tree of 4 levels"),
        shape("exponential-16", "directed: i sends to i + 1, 2, 4, 8"),
        shape("random-regular-16-4", "random, all of degree 4, seed 0", peers=16, degree=4),
        shape("small-world-32", "Watts-Strogatz, degree 4, 10 % rewired, seed 0"),
        shape("barabasi-albert-32", "preferential attachment, 2 links a newcomer, seed 0"),
        shape("caveman-4x5", "4 cliques of 5 in a ring", peers=20, cliques=4),
        shape("barbell-10", "two cliques of 5 joined by one link"),
        shape("erdos-renyi-24", "each link present with probability 2 ln n / n, seed 0"),
    ]


def shape(name: str, what: str, *, peers: int = 0, square: int = 0, **options: Any) -> Entry:
    """Return a named graph; its name ends with the number of peers unless that is given."""
    graph = next(g for g in KINDS if name.startswith(g))
    peers = peers or int(name.rpartition("-")[2])
    made = make_graph(graph, peers, **options)
    places = [(i % square, -(i // square)) for i in range(peers)] if square else circle(peers)
    if graph == "tree":
        places = [tree_place(i) for i in range(peers)]
    nodes = [Node(str(i), pos=(float(x), float(y))) for i, (x, y) in enumerate(places)]
    links = [Link(str(u), str(v)) for u, v in made.edges]
    return Entry(Topology.assemble(name, nodes, links, directed=made.is_directed()), what)


KINDS = (
    "ring", "path", "star", "complete", "grid", "torus", "hypercube", "tree", "exponential",
    "random-regular", "small-world", "barabasi-albert", "caveman", "barbell", "erdos-renyi",
)  # fmt: skip


def circle(n: int) -> list[Place]:
    """Return n places on a circle, clockwise from the top."""
    angles = [2 * pi * i / n for i in range(n)]
    return [(round(sin(a), 4), round(cos(a), 4)) for a in angles]


def tree_place(i: int) -> Place:
    """Return the place of a node of a binary tree: levels below each other."""
    level = (i + 1).bit_length() - 1
    return ((i + 1 - 2**level + 0.5) / 2**level, round(1 - level / 3, 4))


def social() -> list[Entry]:
    """Return the social networks that come with networkx."""
    entries = (
        ("karate", "friends in a karate club", "Zachary 1977, by networkx"),
        (
            "davis",
            "18 women and 14 events they went to",
            "Davis, Gardner, Gardner 1941, by networkx",
        ),
        ("florentine", "marriages of Florentine families", "Padgett, Ansell 1993, by networkx"),
        ("les-miserables", "characters who meet in a chapter", "Knuth 1993, by networkx"),
    )
    return [
        Entry(Topology.from_networkx(make_graph(name), name), what, source)
        for name, what, source in entries
    ]


def backbones() -> list[Entry]:
    """Return research networks; link latency is light in fibre along the great circle."""
    return [
        Entry(
            network("nsfnet-14", NSFNET, NSFNET_LINKS, 1.544),
            "US research backbone around 1990, T1 lines",
            "the 14-node, 21-link map of the optical-network literature",
        ),
        Entry(
            network("abilene-11", ABILENE, ABILENE_LINKS, 10_000.0),
            "Internet2's US backbone, OC-192, 2005",
            "Abilene map of February 2005 (Internet Topology Zoo)",
        ),
        Entry(
            network("geant", GEANT, GEANT_LINKS, None),
            "European research backbone, about 2004, with New York and Tel Aviv",
            "SNDlib instance `geant` (Orlowski et al. 2010)",
        ),
    ]


def network(
    name: str, cities: tuple[City, ...], links: tuple[str, ...], bandwidth_mbps: float | None
) -> Topology:
    """Return a topology of cities; each links entry names a city and those it is linked to."""
    places = {id: (longitude, latitude) for id, longitude, latitude in cities}
    nodes = [Node(id, pos=place) for id, place in places.items()]
    made = []
    for line in links:
        source, *targets = line.split()
        for target in targets:
            latency = round(distance_km(places[source], places[target]) / KM_PER_MS, 3)
            speed = {} if bandwidth_mbps is None else {"bandwidth_mbps": bandwidth_mbps}
            made.append(Link(source, target, latency_ms=latency, **speed))
    return Topology.assemble(name, nodes, made)


def distance_km(a: Place, b: Place) -> float:
    """Return the great-circle distance, by the haversine formula."""
    (x1, y1), (x2, y2) = ((radians(x), radians(y)) for x, y in (a, b))
    h = sin((y2 - y1) / 2) ** 2 + cos(y1) * cos(y2) * sin((x2 - x1) / 2) ** 2
    return 2 * EARTH_KM * asin(sqrt(h))


NSFNET: tuple[City, ...] = (
    ("seattle", -122.33, 47.61),
    ("palo-alto", -122.14, 37.44),
    ("san-diego", -117.16, 32.72),
    ("salt-lake-city", -111.89, 40.76),
    ("boulder", -105.27, 40.01),
    ("houston", -95.37, 29.76),
    ("lincoln", -96.68, 40.81),
    ("champaign", -88.24, 40.12),
    ("pittsburgh", -80.00, 40.44),
    ("atlanta", -84.39, 33.75),
    ("ann-arbor", -83.74, 42.28),
    ("ithaca", -76.50, 42.44),
    ("princeton", -74.66, 40.35),
    ("college-park", -76.94, 38.98),
)
NSFNET_LINKS = (
    "seattle palo-alto san-diego champaign",
    "palo-alto san-diego salt-lake-city",
    "san-diego houston",
    "salt-lake-city boulder ann-arbor",
    "boulder houston lincoln",
    "houston atlanta college-park",
    "lincoln champaign",
    "champaign pittsburgh",
    "pittsburgh atlanta ithaca princeton",
    "ann-arbor ithaca princeton",
    "ithaca college-park",
    "princeton college-park",
)

ABILENE: tuple[City, ...] = (
    ("seattle", -122.33, 47.61),
    ("sunnyvale", -122.04, 37.37),
    ("los-angeles", -118.24, 34.05),
    ("denver", -104.99, 39.74),
    ("kansas-city", -94.58, 39.10),
    ("houston", -95.37, 29.76),
    ("chicago", -87.63, 41.88),
    ("indianapolis", -86.16, 39.77),
    ("atlanta", -84.39, 33.75),
    ("washington", -77.04, 38.91),
    ("new-york", -74.01, 40.71),
)
ABILENE_LINKS = (
    "seattle sunnyvale denver",
    "sunnyvale los-angeles denver",
    "los-angeles houston",
    "denver kansas-city",
    "kansas-city houston indianapolis",
    "houston atlanta",
    "indianapolis chicago atlanta",
    "chicago new-york",
    "new-york washington",
    "washington atlanta",
)

GEANT: tuple[City, ...] = (
    ("vienna", 16.37, 48.21),
    ("brussels", 4.35, 50.85),
    ("geneva", 6.14, 46.20),
    ("prague", 14.44, 50.08),
    ("frankfurt", 8.68, 50.11),
    ("madrid", -3.70, 40.42),
    ("paris", 2.35, 48.86),
    ("athens", 23.73, 37.98),
    ("zagreb", 15.98, 45.81),
    ("budapest", 19.04, 47.50),
    ("dublin", -6.26, 53.35),
    ("tel-aviv", 34.78, 32.08),
    ("milan", 9.19, 45.46),
    ("luxembourg", 6.13, 49.61),
    ("amsterdam", 4.90, 52.37),
    ("new-york", -74.01, 40.71),
    ("poznan", 16.93, 52.41),
    ("lisbon", -9.14, 38.71),
    ("stockholm", 18.07, 59.33),
    ("ljubljana", 14.51, 46.06),
    ("bratislava", 17.11, 48.15),
    ("london", -0.13, 51.51),
)
GEANT_LINKS = (
    "vienna geneva frankfurt budapest new-york ljubljana",
    "brussels paris luxembourg amsterdam",
    "geneva paris milan",
    "prague frankfurt poznan bratislava",
    "frankfurt paris athens dublin milan amsterdam stockholm",
    "madrid paris milan lisbon",
    "paris luxembourg london",
    "athens milan",
    "zagreb budapest ljubljana",
    "budapest bratislava",
    "dublin london",
    "tel-aviv milan amsterdam",
    "amsterdam london",
    "new-york london",
    "poznan stockholm",
    "lisbon london",
    "stockholm london",
)


def designed() -> list[Entry]:
    """Return networks as one would rent or find them."""
    return [
        Entry(two_datacentres(), "2 x 8 machines, hypercubes inside, 4 links of 30 ms between"),
        Entry(hub_and_spoke(), "4 hubs linked to each other, 5 home connections at each"),
    ]


def two_datacentres() -> Topology:
    """Return two hypercubes of 8 at 0.2 ms and 10 Gb/s, joined by 4 links at 30 ms and 1 Gb/s."""
    cube = [(int(u), int(v)) for u, v in make_graph("hypercube", 8).edges]
    links = []
    for side in "ab":
        links += [
            Link(f"{side}{u}", f"{side}{v}", latency_ms=0.2, bandwidth_mbps=1e4) for u, v in cube
        ]
    links += [Link(f"a{i}", f"b{i}", latency_ms=30.0, bandwidth_mbps=1e3) for i in (0, 3, 5, 6)]
    nodes = []
    for side, shift in (("a", -1.5), ("b", 1.5)):
        nodes += [Node(f"{side}{i}", pos=(x + shift, y)) for i, (x, y) in enumerate(circle(8))]
    return Topology.assemble("two-datacentres", nodes, links)


def hub_and_spoke() -> Topology:
    """Return 4 hubs, complete at 10 ms and 1 Gb/s; 5 homes at each, 12-28 ms, 20-100 Mb/s."""
    hubs = range(4)
    links = [
        Link(f"hub-{a}", f"hub-{b}", latency_ms=10.0, bandwidth_mbps=1e3)
        for a, b in combinations(hubs, 2)
    ]
    rim = circle(20)
    nodes = []
    for hub in hubs:
        x, y = rim[5 * hub + 2]
        nodes.append(Node(f"hub-{hub}", pos=(round(x / 2, 4), round(y / 2, 4))))
        for k in range(5):
            home = f"home-{hub}-{k}"
            nodes.append(Node(home, pos=rim[5 * hub + k]))
            latency, speed = 12.0 + 4 * ((k + hub) % 5), 20.0 + 20 * ((2 * k + hub) % 5)
            links.append(Link(f"hub-{hub}", home, latency_ms=latency, bandwidth_mbps=speed))
    return Topology.assemble("hub-and-spoke", nodes, links)


def local() -> list[Entry]:
    """Return topologies with addresses: deployments on one machine."""
    return [
        Entry(addressed("local-ring-8", "ring", 8), "ring with addresses on one machine"),
        Entry(addressed("local-path-2", "path", 2), "two peers with addresses on one machine"),
    ]


def addressed(name: str, graph: str, peers: int) -> Topology:
    """Return a named graph whose peers listen on ports from 47110 of this machine."""
    nodes = [
        Node(str(i), address=f"127.0.0.1:{47110 + i}", pos=place)
        for i, place in enumerate(circle(peers))
    ]
    links = [Link(str(u), str(v)) for u, v in make_graph(graph, peers).edges]
    return Topology.assemble(name, nodes, links)


HEADER = """\
# Topologies

Graphs to train on. Each file is networkx node-link JSON; use one with
`file = "…/topologies/geant.json"` under `[topology]` of an experiment, look at one with
`gossipml topology show topologies/geant.json --plot geant.png`.

The spectral gap and the rounds to 1e-3 (how many rounds of mixing shrink disagreement a
thousandfold, at most) hold for Metropolis weights. Latencies are one way; those of real
networks are the great circle at two thirds of the speed of light.

`python topologies/build.py` rebuilds the files and this table.

| file | what it is | source | peers | links | degree | diameter | gap | rounds to 1e-3 |
|---|---|---|--:|--:|--:|--:|--:|--:|
"""


def readme(entries: list[Entry]) -> str:
    """Return the text of README.md."""
    return HEADER + "".join(row(entry) for entry in entries)


def row(entry: Entry) -> str:
    """Return one line of the table."""
    facts = describe(entry.topology)
    low, high = facts.degree.min, facts.degree.max
    name = f"{facts.name}.json"
    cells = (
        f"[{name}]({name})", entry.what, entry.source, facts.nodes, facts.edges,
        low if low == high else f"{low}-{high}", facts.diameter, f"{facts.spectral_gap:.4f}",
        facts.predicted_rounds,
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
