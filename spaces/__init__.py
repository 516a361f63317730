"""The search spaces: one define-by-run function a family, registered here by one line each.

    suggest(trial, context) -> TrialConfig

`trial` is an Optuna trial, `context` says what the search allows. Importing this package imports
neither optuna nor torch; a space's file is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module

from fmnist_models.config.registry import check_name, make_registry
from spaces.space import Space, SpaceContext

__all__ = ["SPACES", "Space", "SpaceContext", "get_space"]

SPACES = make_registry(
    [
        ("quick", "small convolutional nets that a CPU core trains in 5 to 30 seconds an epoch"),
        ("mlp", "multilayer perceptrons, 1 to 5 hidden layers of 64 to 1024 units"),
        (
            "cnn",
            "stacks of convolutions, pools and dropout with a dense head: the field's plain nets",
        ),
        ("vgg", "VGG-11 to VGG-19, with and without batch norm, width 8 to 64"),
        ("mobilenet", "MobileNet V1, V2 and V3, width multiplier 0.25 to 1, images 28x28 or 56x56"),
        ("wrn", "wide residual networks, depth 10 to 40, width 1 to 10"),
        ("preact", "pre-activation ResNets: three stages, depth 8 to 50, or four, 18, 34 and 50"),
        ("shake", "Shake-Shake networks, depth 8 to 26, 2x16d to 2x96d"),
        ("densenet", "DenseNet-BC, depth 10 to 100, growth 4 to 40"),
        (
            "convnext",
            "small ConvNeXts: depthwise kernels of 3 to 7, layer norm, 16 to 128 channels",
        ),
        ("all", "any of the above: a family is sampled, then its own parameters"),
    ]
)
"""The name of each space, which is its module's too, and what it holds."""


def get_space(name: str) -> Space:
    """The space registered as `name`; raises ConfigError with the known names and the nearest."""
    module = import_module(f"spaces.{check_name(name, SPACES, 'space')}")
    space: Space = module.SPACE
    return space
