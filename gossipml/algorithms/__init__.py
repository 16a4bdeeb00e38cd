"""One file per method, each a generator round; see :mod:`gossipml.algorithms.base`."""

from gossipml.algorithms.base import (
    Algorithm as Algorithm,
    Average as Average,
    Exchange as Exchange,
    Facts as Facts,
    Objective as Objective,
    Push as Push,
    Request as Request,
    Round as Round,
    State as State,
    average as average,
    exchange as exchange,
    push as push,
)
from gossipml.algorithms.baselines import Centralised as Centralised, Isolated as Isolated
from gossipml.algorithms.d_psgd import DPSGD as DPSGD, DPSGDCTA as DPSGDCTA
from gossipml.algorithms.learning_rate import (
    LEARNING_RATES as LEARNING_RATES,
    Constant as Constant,
    Cosine as Cosine,
    InverseSqrt as InverseSqrt,
    LearningRate as LearningRate,
    Step as Step,
)
from gossipml.algorithms.local_sgd import LocalSGD as LocalSGD
from gossipml.algorithms.optimizers import (
    OPTIMIZERS as OPTIMIZERS,
    SGD as SGD,
    Adam as Adam,
    Momentum as Momentum,
    Nesterov as Nesterov,
    Optimizer as Optimizer,
)
from gossipml.algorithms.problem import Problem as Problem

ALGORITHMS: dict[str, type[Algorithm]] = {
    algorithm.name: algorithm for algorithm in (DPSGD, DPSGDCTA, LocalSGD, Isolated, Centralised)
}
"""Registered methods by their papers' names."""
