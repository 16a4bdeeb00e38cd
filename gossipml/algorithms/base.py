"""The algorithm contract: one round is a generator.

A round computes locally, yields what it wants averaged and is sent back the result.
It knows no sockets, clocks or number of peers. Arrays have shape ``(..., P)``: ``(P,)`` on
a real peer, ``(n, P)`` stacked; a round uses broadcasting and last-axis operations only,
so it does not know which.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from numpy.typing import NDArray

from gossipml.algorithms.learning_rate import Constant, LearningRate
from gossipml.errors import ConfigError

Array: TypeAlias = NDArray[Any]


class State:
    """A plain record of named arrays: all that an algorithm remembers between rounds.

    It is also the whole checkpoint. ``s.x`` is the model; every other name is the method's.
    """

    def __init__(self, **arrays: Array) -> None:
        self.__dict__.update(arrays)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Array: ...
        def __setattr__(self, name: str, value: Array) -> None: ...

    def arrays(self) -> dict[str, Array]:
        """Return the record as a dictionary, in the order of creation."""
        return dict(self.__dict__)


@dataclass(frozen=True, slots=True)
class Average:
    """Ask for Σ_j w_ij v_j over the closed neighbourhood, for each of ``arrays``."""

    arrays: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Push:
    """Ask for Σ_j c_ij v_j, where every sender j splits v_j equally (column-stochastic C)."""

    arrays: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """Ask to send row k of the one array ``(..., degree, m)`` to the k-th neighbour."""

    arrays: tuple[Array]


Request: TypeAlias = Average | Push | Exchange


@dataclass(frozen=True, slots=True, eq=False)
class Begin:
    """Ask for a request to be sent now; its answer is that to the next request, which is this."""

    request: Average | Push


Round: TypeAlias = Generator[Request | Begin, Any, None]


def average(*arrays: Array) -> Average:
    """Yield this to average arrays with the neighbours, by the round's row of mixing weights.

    The answer is a tuple with one averaged array for each given one::

        s.x, s.y = yield average(s.x, s.y)
    """
    return Average(arrays)


def push(*arrays: Array) -> Push:
    """Yield this to add up what in-neighbours push, each splitting its mass equally.

    For push-sum methods on directed graphs (Kempe, Dobra, Gehrke 2003).
    """
    return Push(arrays)


def exchange(edges: Array) -> Exchange:
    """Yield this to send each neighbour something else: row k goes to the k-th one.

    ``edges`` is ``(..., degree, m)``, neighbours in ascending order. The answer is what they
    sent, ``(..., degree, m)``, and the mixing weights on these edges, ``(..., degree, 1)``,
    which are 0, as their rows are, where nothing came::

        theirs, weights = yield exchange(mine)

    The facts of such a method say ``edgewise``.
    """
    return Exchange((edges,))


def begin(request: Average | Push) -> Begin:
    """Yield this to have a request under way while the round computes on.

    What comes back is yielded, before anything else is, to wait for the answer::

        mixing = yield begin(average(s.x))
        step = ...  # the wire is busy meanwhile
        (mixed,) = yield mixing

    The arrays must stay as they are until then. The result is that of asking at the end.

    Raises
    ------
    ConfigError
        For an exchange, or no request.
    """
    if not isinstance(request, Average | Push):
        raise ConfigError(f"begin: found {type(request).__name__}, expected average(…) or push(…)")
    return Begin(request)


class Objective(Protocol):
    """What a round may ask of the peer's own data, and of its pace."""

    speed: Array
    """Rounds that this peer plays for each round of the run, ``(..., 1)``; 1 in step."""

    def gradient(self, x: Array) -> Array:
        """Return the gradient at ``x`` on this peer's next minibatch."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What theory says of a method. Loading an experiment and the contract tests both use it."""

    symmetric: bool = False  # needs W = Wᵀ
    doubly_stochastic: bool = True  # needs rows and columns of W to sum to 1
    in_expectation: bool = False  # for columns of W, to sum to 1 in expectation is enough
    row_stochastic: bool = False  # needs rows of W to sum to 1, whatever the columns do
    least_eigenvalue: float | None = None  # needs all eigenvalues of W to be above it
    complete: bool = False  # needs W = 11ᵀ/n
    exact: bool = False  # reaches the optimum with a constant step on heterogeneous data
    tolerates_loss: bool = True  # a missed message costs accuracy, never correctness for good
    settles: bool = True  # what a missed message changed may be taken back in a later round
    vectors: int = 1  # P-vectors sent to each neighbour a round
    requests: int = 1  # yields a round
    scalars: int = 0  # further numbers sent with them
    edgewise: bool = False  # sends each neighbour something else
    tree: bool = False  # needs a graph without cycles
    keeps_mean: bool = True  # without gradients, the mean over peers stays
    pooled: bool = False  # wants all the data in one place: a baseline
    averages: bool = False  # takes no gradients: it only averages the initial models
    static: bool = False  # needs the same W in every round
    compresses: bool = False  # sends what its own compressor, the field ``compress``, made
    given: tuple[str, ...] = ()  # fields that an experiment fills from its network if not set
    unbiased: bool = False  # needs a compressor with E Q(v) = v
    mass: tuple[str, ...] = ()  # arrays that it pushes, in this order: their totals are kept


def declare(algorithm: Algorithm, **facts: Any) -> None:
    """Let one object's facts differ from its class's, as its options ask for."""
    algorithm.__dict__["facts"] = replace(algorithm.facts, **facts)


def check_least(key: str, value: int, least: int = 1) -> None:
    """Refuse a count that is too small."""
    if value < least:
        raise ConfigError(f"algorithm.{key}: found {value}, expected an integer of {least} or more")


def check_share(key: str, value: float) -> None:
    """Refuse what is not a share from 0 to below 1."""
    if not 0 <= value < 1:
        raise ConfigError(f"algorithm.{key}: found {value}, expected a number from 0 to below 1")


@dataclass(kw_only=True)
class Algorithm(ABC):
    """Base of every method: subclass it, write ``round``, and every engine runs it.

    Hyper-parameters are dataclass fields; an experiment file sets them by name under
    ``[algorithm]``.

    Attributes
    ----------
    lr : float
        Learning rate η. Inside ``round`` it is the value of that round.
    lr_schedule : LearningRate
        Factor by round on ``lr``.
    """

    name: ClassVar[str] = ""
    facts: ClassVar[Facts] = Facts()

    lr: float = 0.1
    lr_schedule: LearningRate = field(default_factory=Constant)

    def start(self, x0: Array, degree: int) -> State:
        """Return the state before the first round of a peer with so many neighbours.

        Methods that remember something of each edge override this in place of :meth:`init`.
        """
        del degree
        return self.init(x0)

    def sizes(self, size: int) -> list[int]:
        """Return the lengths of all arrays that a neighbour is sent in a round, P being ``size``.

        As the facts say; methods that send less than P numbers override it.
        """
        return [size] * self.facts.vectors + [1] * self.facts.scalars

    def largest(self, size: int) -> list[int]:
        """Return the lengths of the arrays in the largest request: what a buffer has to hold.

        All of a round, but for methods that ask several times and override it.
        """
        return self.sizes(size)

    def init(self, x0: Array) -> State:
        """Return the state before the first round, from the initial model ``(..., P)``."""
        return State(x=x0)

    @abstractmethod
    def round(self, s: State, problem: Objective) -> Round:
        """Play one round on the state ``s``: compute, yield requests, update ``s``."""

    def at(self, round: int) -> Algorithm:
        """Return this algorithm with ``lr`` as it is in the given round."""
        factor = self.lr_schedule(round)
        if factor == 1.0:
            return self
        tuned = copy.copy(self)
        tuned.lr = self.lr * factor
        return tuned
