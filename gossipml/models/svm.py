"""Linear support vector machine, for two classes and more."""

from __future__ import annotations

from gossipml.models.affine import Affine
from gossipml.models.base import need_classes
from gossipml.models.losses import HINGE


class SVM(Affine):
    """Crammer-Singer hinge, mean of max_c (1[c != y] + s_c - s_y), plus l2/2 |W|^2.

    Parameters are W (F, C), then b (C,), with a column for each class, also for two. The loss
    has kinks; there the gradient is one subgradient (Crammer, Singer 2001, JMLR 2).

    Parameters
    ----------
    l2
        Ridge on the weights, not on the bias.
    """

    objective = HINGE

    def __init__(
        self,
        features: tuple[int, ...],
        classes: int | None,
        *,
        dtype: str = "float32",
        l2: float = 1e-4,
    ) -> None:
        outputs = need_classes("svm", classes)
        super().__init__(features, classes, dtype=dtype, outputs=outputs, l2=l2)
