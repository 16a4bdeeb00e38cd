"""Linear regression."""

from __future__ import annotations

from gossipml.models.affine import Affine
from gossipml.models.base import at_least, need_regression
from gossipml.models.losses import SQUARED


class Linear(Affine):
    """Least squares: half the mean squared error plus l2/2 |W|^2; parameters W (F, C), then b (C,).

    Parameters
    ----------
    targets
        Numbers to predict per sample, C: y is (..., B), or (..., B, C) if C > 1.
    l2
        Ridge on the weights, not on the bias.
    """

    objective = SQUARED

    def __init__(
        self,
        features: tuple[int, ...],
        classes: int | None,
        *,
        dtype: str = "float32",
        targets: int = 1,
        l2: float = 0.0,
    ) -> None:
        need_regression("linear", classes)
        at_least("targets", targets, 1)
        shape = () if targets == 1 else (targets,)
        super().__init__(features, None, dtype=dtype, outputs=targets, targets=shape, l2=l2)
