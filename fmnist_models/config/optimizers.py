"""One frozen configuration a kind of optimizer: a tagged union by `kind`. No torch here.

Weight decay is "coupled" where it is an L2 penalty in the gradient, "decoupled" where it shrinks
the weights apart from it (arXiv:1711.05101).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fmnist_models.config.base import Config

Beta = Annotated[float, Field(ge=0, lt=1)]
WeightDecay = Annotated[float, Field(ge=0, le=1)]
Lr = Annotated[float, Field(gt=0, le=1)]
LargeLr = Annotated[float, Field(gt=0, le=10)]


class SgdConfig(Config):
    """Stochastic gradient descent with momentum; weight decay is coupled (an L2 penalty)."""

    kind: Literal["sgd"] = "sgd"
    lr: LargeLr
    momentum: Beta = 0.9
    nesterov: bool = True
    weight_decay: WeightDecay = 5e-4


class AdamConfig(Config):
    """Adam (arXiv:1412.6980), with `amsgrad` as in arXiv:1904.09237; coupled decay."""

    kind: Literal["adam"] = "adam"
    lr: Lr
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    amsgrad: bool = False
    weight_decay: WeightDecay = 0.0


class AdamWConfig(Config):
    """AdamW (arXiv:1711.05101): adaptive steps, weight decay decoupled from the gradient."""

    kind: Literal["adamw"] = "adamw"
    lr: Lr
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    weight_decay: WeightDecay = 1e-2


class NAdamConfig(Config):
    """NAdam (Dozat, ICLR workshop 2016): Adam with Nesterov momentum; decoupled decay."""

    kind: Literal["nadam"] = "nadam"
    lr: Lr
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    weight_decay: WeightDecay = 1e-2


class AdamaxConfig(Config):
    """Adamax (arXiv:1412.6980, section 7.1): Adam by the infinity norm; coupled decay."""

    kind: Literal["adamax"] = "adamax"
    lr: Lr
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    weight_decay: WeightDecay = 0.0


class RmspropConfig(Config):
    """RMSprop (Hinton's lecture 6e, 2012), `alpha` the memory of squares; coupled decay."""

    kind: Literal["rmsprop"] = "rmsprop"
    lr: Lr
    alpha: Beta = 0.99
    momentum: Beta = 0.0
    weight_decay: WeightDecay = 0.0


class AdagradConfig(Config):
    """Adagrad (JMLR 12:2121, 2011): steps shrink with the sum of squares; coupled decay."""

    kind: Literal["adagrad"] = "adagrad"
    lr: LargeLr
    weight_decay: WeightDecay = 0.0


class AdadeltaConfig(Config):
    """Adadelta (arXiv:1212.5701), `rho` the memory of squares; coupled decay."""

    kind: Literal["adadelta"] = "adadelta"
    lr: LargeLr = 1.0
    rho: Beta = 0.9
    weight_decay: WeightDecay = 0.0


class LionConfig(Config):
    """Lion (arXiv:2302.06675): steps by the sign of the momentum; decoupled decay.

    The paper asks for a learning rate 3 to 10 times smaller and a decay as much larger than AdamW.
    """

    kind: Literal["lion"] = "lion"
    lr: Lr
    beta1: Beta = 0.9
    beta2: Beta = 0.99
    weight_decay: WeightDecay = 0.1


class MuonConfig(Config):
    """Muon (kellerjordan.github.io/posts/muon) for hidden weights, AdamW for all the rest.

    One `lr` serves both, as steps are scaled to the length of AdamW's (arXiv:2502.16982);
    `momentum` is Muon's. Decoupled decay.
    """

    kind: Literal["muon"] = "muon"
    lr: Lr
    momentum: Beta = 0.95
    weight_decay: WeightDecay = 1e-2


class ScheduleFreeConfig(Config):
    """Schedule-Free AdamW (arXiv:2405.15682): averages its weights instead of lowering `lr`.

    Decay is decoupled. Needs a constant learning-rate schedule and no other averaging.
    """

    kind: Literal["schedulefree"] = "schedulefree"
    lr: Lr
    beta1: Annotated[float, Field(gt=0, lt=1)] = 0.9
    beta2: Beta = 0.999
    weight_decay: WeightDecay = 1e-2


OptimizerConfig = Annotated[
    SgdConfig
    | AdamConfig
    | AdamWConfig
    | NAdamConfig
    | AdamaxConfig
    | RmspropConfig
    | AdagradConfig
    | AdadeltaConfig
    | LionConfig
    | MuonConfig
    | ScheduleFreeConfig,
    Field(discriminator="kind"),
]
