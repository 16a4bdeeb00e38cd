"""Multinomial logistic regression."""

from __future__ import annotations

from gossipml.models.affine import Affine
from gossipml.models.base import need_classes
from gossipml.models.losses import CROSS_ENTROPY


class Softmax(Affine):
    """Cross entropy of softmax(X W + b) plus l2/2 |W|^2; parameters W (F, C), then b (C,).

    Parameters
    ----------
    l2
        Ridge on the weights, not on the bias.
    """

    objective = CROSS_ENTROPY

    def __init__(
        self,
        features: tuple[int, ...],
        classes: int | None,
        *,
        dtype: str = "float32",
        l2: float = 0.0,
    ) -> None:
        outputs = need_classes("softmax", classes)
        super().__init__(features, classes, dtype=dtype, outputs=outputs, l2=l2)
