"""One file per method, each a generator round; see :mod:`gossipml.algorithms.base`."""

from gossipml.algorithms.adaptive_gossip import AdaptiveGossip as AdaptiveGossip
from gossipml.algorithms.base import (
    Algorithm as Algorithm,
)
from gossipml.algorithms.base import (
    Average as Average,
)
from gossipml.algorithms.base import (
    Begin as Begin,
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
    begin as begin,
)
from gossipml.algorithms.base import (
    exchange as exchange,
)
from gossipml.algorithms.base import (
    push as push,
)
from gossipml.algorithms.baselines import AllReduce as AllReduce
from gossipml.algorithms.baselines import Centralised as Centralised
from gossipml.algorithms.baselines import Isolated as Isolated
from gossipml.algorithms.beer import BEER as BEER
from gossipml.algorithms.choco_sgd import ChocoGossip as ChocoGossip
from gossipml.algorithms.choco_sgd import ChocoSGD as ChocoSGD
from gossipml.algorithms.d_psgd import DPSGD as DPSGD
from gossipml.algorithms.d_psgd import DPSGDCTA as DPSGDCTA
from gossipml.algorithms.deep_squeeze import DeepSqueeze as DeepSqueeze
from gossipml.algorithms.diloco import DiLoCoGossip as DiLoCoGossip
from gossipml.algorithms.exact_diffusion import D2 as D2
from gossipml.algorithms.exact_diffusion import ExactDiffusion as ExactDiffusion
from gossipml.algorithms.extra import EXTRA as EXTRA
from gossipml.algorithms.gossip import ChebyshevGossip as ChebyshevGossip
from gossipml.algorithms.gossip import ChebyshevSGD as ChebyshevSGD
from gossipml.algorithms.gossip import Gossip as Gossip
from gossipml.algorithms.gossip import MultiGossipSGD as MultiGossipSGD
from gossipml.algorithms.gossip import PushSum as PushSum
from gossipml.algorithms.gradient_tracking import DIGing as DIGing
from gossipml.algorithms.gradient_tracking import GradientTracking as GradientTracking
from gossipml.algorithms.k_gt import KGT as KGT
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
from gossipml.algorithms.led import LED as LED
from gossipml.algorithms.local_sgd import LocalSGD as LocalSGD
from gossipml.algorithms.momentum import DSGDm as DSGDm
from gossipml.algorithms.momentum import MomentumTracking as MomentumTracking
from gossipml.algorithms.momentum import QGDSGDm as QGDSGDm
from gossipml.algorithms.noloco import NoLoCo as NoLoCo
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
from gossipml.algorithms.own_pace import ADPSGD as ADPSGD
from gossipml.algorithms.own_pace import SWIFT as SWIFT
from gossipml.algorithms.own_pace import GossipLearning as GossipLearning
from gossipml.algorithms.power_gossip import PowerGossip as PowerGossip
from gossipml.algorithms.problem import BlockProblem as BlockProblem
from gossipml.algorithms.problem import Problem as Problem
from gossipml.algorithms.push_pull import PushDIGing as PushDIGing
from gossipml.algorithms.push_pull import PushPull as PushPull
from gossipml.algorithms.push_sum import SGP as SGP
from gossipml.algorithms.relay_sgd import RelaySGD as RelaySGD

ALGORITHMS: dict[str, type[Algorithm]] = {
    algorithm.name: algorithm
    for algorithm in (
        DPSGD, DPSGDCTA, LocalSGD, MultiGossipSGD, AdaptiveGossip, ChebyshevSGD, DSGDm, QGDSGDm,
        NoLoCo, DiLoCoGossip, GradientTracking, DIGing, MomentumTracking, KGT,
        ExactDiffusion, D2, EXTRA, LED,
        ChocoSGD, DeepSqueeze, LEAD, BEER, PowerGossip, RelaySGD, ADPSGD, SWIFT, GossipLearning,
        SGP, PushDIGing, PushPull,
        Gossip, ChebyshevGossip, ChocoGossip, PushSum, AllReduce, Isolated, Centralised,
    )
}  # fmt: skip
"""Registered methods by their papers' names."""
