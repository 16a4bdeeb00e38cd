"""One file per method, each a generator round; see :mod:`gossipml.algorithms.base`."""

from gossipml.algorithms.base import (
    Algorithm as Algorithm,
)
from gossipml.algorithms.base import (
    Average as Average,
)
from gossipml.algorithms.base import (
    Exchange as Exchange,
)
from gossipml.algorithms.base import (
    Facts as Facts,
)
from gossipml.algorithms.base import (
    Objective as Objective,
)
from gossipml.algorithms.base import (
    Push as Push,
)
from gossipml.algorithms.base import (
    Request as Request,
)
from gossipml.algorithms.base import (
    Round as Round,
)
from gossipml.algorithms.base import (
    State as State,
)
from gossipml.algorithms.base import (
    average as average,
)
from gossipml.algorithms.base import (
    exchange as exchange,
)
from gossipml.algorithms.base import (
    push as push,
)
from gossipml.algorithms.baselines import Centralised as Centralised
from gossipml.algorithms.baselines import Isolated as Isolated
from gossipml.algorithms.beer import BEER as BEER
from gossipml.algorithms.choco_sgd import ChocoGossip as ChocoGossip
from gossipml.algorithms.choco_sgd import ChocoSGD as ChocoSGD
from gossipml.algorithms.d_psgd import DPSGD as DPSGD
from gossipml.algorithms.d_psgd import DPSGDCTA as DPSGDCTA
from gossipml.algorithms.deep_squeeze import DeepSqueeze as DeepSqueeze
from gossipml.algorithms.gradient_tracking import GradientTracking as GradientTracking
from gossipml.algorithms.lead import LEAD as LEAD
from gossipml.algorithms.learning_rate import (
    LEARNING_RATES as LEARNING_RATES,
)
from gossipml.algorithms.learning_rate import (
    Constant as Constant,
)
from gossipml.algorithms.learning_rate import (
    Cosine as Cosine,
)
from gossipml.algorithms.learning_rate import (
    InverseSqrt as InverseSqrt,
)
from gossipml.algorithms.learning_rate import (
    LearningRate as LearningRate,
)
from gossipml.algorithms.learning_rate import (
    Step as Step,
)
from gossipml.algorithms.local_sgd import LocalSGD as LocalSGD
from gossipml.algorithms.optimizers import (
    OPTIMIZERS as OPTIMIZERS,
)
from gossipml.algorithms.optimizers import (
    SGD as SGD,
)
from gossipml.algorithms.optimizers import (
    Adam as Adam,
)
from gossipml.algorithms.optimizers import (
    Momentum as Momentum,
)
from gossipml.algorithms.optimizers import (
    Nesterov as Nesterov,
)
from gossipml.algorithms.optimizers import (
    Optimizer as Optimizer,
)
from gossipml.algorithms.problem import BlockProblem as BlockProblem
from gossipml.algorithms.problem import Problem as Problem
from gossipml.algorithms.push_sum import PushSumSGD as PushSumSGD

ALGORITHMS: dict[str, type[Algorithm]] = {
    algorithm.name: algorithm
    for algorithm in (
        DPSGD, DPSGDCTA, LocalSGD, GradientTracking, ChocoSGD, ChocoGossip, DeepSqueeze,
        LEAD, BEER, PushSumSGD, Isolated, Centralised,
    )
}  # fmt: skip
"""Registered methods by their papers' names."""
