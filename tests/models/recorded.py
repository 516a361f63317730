"""What recorded passes are tried with, on a CPU and on a GPU."""

from __future__ import annotations

from typing import Any

from fmnist_models.config import (
    AdamWConfig,
    ArcFaceConfig,
    AugmentationConfig,
    LrScheduleConfig,
    ModelConfig,
    MuonConfig,
    RegularizationConfig,
    ScheduleFreeConfig,
)
from fmnist_models.families import get_family
from fmnist_models.shake import ShakeConfig
from fmnist_models.wrn import WrnConfig

INGREDIENTS: dict[str, dict[str, Any]] = {
    "SAM": {"regularization": RegularizationConfig(sam_rho=0.05, ema_decay=0.9)},
    "SAM, clipping, mixing": {
        "regularization": RegularizationConfig(sam_rho=0.05, clip_norm=0.05),
        "augmentation": AugmentationConfig(mixing="cutmix", flip=True),
    },
    "clipping": {"regularization": RegularizationConfig(clip_norm=0.05)},
    "mixing": {"augmentation": AugmentationConfig(mixing="mixup", shift=2)},
    "margin": {"loss": ArcFaceConfig(), "augmentation": AugmentationConfig(mixing="ricap")},
    "margin, plain labels": {"loss": ArcFaceConfig()},
    "SWA": {"regularization": RegularizationConfig(swa_fraction=0.5)},
    "AdamW": {"optimizer": AdamWConfig(lr=1e-3)},
    "Muon": {"optimizer": MuonConfig(lr=1e-3)},
    "Schedule-Free": {
        "optimizer": ScheduleFreeConfig(lr=1e-3),
        "lr_schedule": LrScheduleConfig(kind="constant"),
        "regularization": RegularizationConfig(ema_decay=0.0),
    },
    "shake-even": {"model": ShakeConfig(depth=8, width=8, mode="shake-even")},
    "DropBlock, depth, GeM": {
        "model": WrnConfig(
            depth=10, width=1, dropout=0.2, drop_block=0.1, stochastic_depth=0.2, pool="gem"
        )
    },
    "weighted padding": {"model": WrnConfig(depth=10, width=1, padding="weighted")},
}


def with_dropout(name: str) -> ModelConfig:
    """The family's example, with dropout where it has any."""
    family = get_family(name)
    change = {"dropout": 0.3} if "dropout" in family.config.model_fields else {}
    return family.config.model_validate({**family.example.model_dump(), **change})
