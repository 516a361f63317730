"""Everything that touches a tensor: families, data, augmentation, training engine, evaluation.

    from fmnist_models import load_model
    load_model("models/quick").predict(["shirt.jpg"])

The names of `__all__` are the package's face: models in use and configurations. Importing the
package imports no torch, so that commands which only read stay fast; a name brings what it needs
when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fmnist_models.config.base import ModelConfig
    from fmnist_models.config.files import ExportedConfig, read_config
    from fmnist_models.config.optimizers import (
        AdadeltaConfig,
        AdagradConfig,
        AdamaxConfig,
        AdamConfig,
        AdamWConfig,
        LionConfig,
        MuonConfig,
        NAdamConfig,
        RmspropConfig,
        ScheduleFreeConfig,
        SgdConfig,
    )
    from fmnist_models.config.training import (
        ArcFaceConfig,
        AugmentationConfig,
        CrossEntropyConfig,
        LrScheduleConfig,
        RegularizationConfig,
        SphereFaceConfig,
    )
    from fmnist_models.config.trial import TrialConfig
    from fmnist_models.families.cnn import CnnConfig
    from fmnist_models.families.convnext import ConvnextConfig
    from fmnist_models.families.densenet import DensenetConfig
    from fmnist_models.families.mlp import MlpConfig
    from fmnist_models.families.mobilenet import MobilenetConfig
    from fmnist_models.families.preact import PreactConfig
    from fmnist_models.families.quick import QuickConfig
    from fmnist_models.families.shake import ShakeConfig
    from fmnist_models.families.vgg import VggConfig
    from fmnist_models.families.wrn import WrnConfig
    from fmnist_models.saved_model.predictor import load_model
    from fmnist_models.training.losses import build_network

__all__ = [
    "AdadeltaConfig",
    "AdagradConfig",
    "AdamConfig",
    "AdamWConfig",
    "AdamaxConfig",
    "ArcFaceConfig",
    "AugmentationConfig",
    "CnnConfig",
    "ConvnextConfig",
    "CrossEntropyConfig",
    "DensenetConfig",
    "ExportedConfig",
    "LionConfig",
    "LrScheduleConfig",
    "MlpConfig",
    "MobilenetConfig",
    "ModelConfig",
    "MuonConfig",
    "NAdamConfig",
    "PreactConfig",
    "QuickConfig",
    "RegularizationConfig",
    "RmspropConfig",
    "ScheduleFreeConfig",
    "SgdConfig",
    "ShakeConfig",
    "SphereFaceConfig",
    "TrialConfig",
    "VggConfig",
    "WrnConfig",
    "build_network",
    "load_model",
    "read_config",
]

_HOMES = {
    "config.base": "ModelConfig",
    "config.files": "ExportedConfig read_config",
    "config.optimizers": (
        "AdadeltaConfig AdagradConfig AdamaxConfig AdamConfig AdamWConfig LionConfig "
        "MuonConfig NAdamConfig RmspropConfig ScheduleFreeConfig SgdConfig"
    ),
    "config.training": (
        "ArcFaceConfig AugmentationConfig CrossEntropyConfig LrScheduleConfig "
        "RegularizationConfig SphereFaceConfig"
    ),
    "config.trial": "TrialConfig",
    "families.cnn": "CnnConfig",
    "families.convnext": "ConvnextConfig",
    "families.densenet": "DensenetConfig",
    "families.mlp": "MlpConfig",
    "families.mobilenet": "MobilenetConfig",
    "families.preact": "PreactConfig",
    "families.quick": "QuickConfig",
    "families.shake": "ShakeConfig",
    "families.vgg": "VggConfig",
    "families.wrn": "WrnConfig",
    "saved_model.predictor": "load_model",
    "training.losses": "build_network",
}
"""Modules of this package, and the names of `__all__` that each holds."""


def __getattr__(name: str) -> Any:
    """A name of `__all__`, imported when it is asked for (PEP 562)."""
    for module, names in _HOMES.items():
        if name in names.split():
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
