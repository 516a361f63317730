"""`python -m fmnist_models train|evaluate|augmentations`.

Final training of a configuration, its score, and a picture of what augmentation does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError

from fmnist_models.config import TrialConfig, explain, read_config
from fmnist_models.errors import ConfigError, FmnistError, NoSpaceError, OutOfMemoryError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def build_parser() -> argparse.ArgumentParser:
    """All commands and options, with their defaults."""
    parser = _Parser(prog="python -m fmnist_models", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser(
        "train",
        help="train a configuration on all training images, score it once on the test set",
        description="Train a configuration on all 60,000 training images for its number of "
        "epochs and keep the last epoch's weights; the test set is read once, at the end. Killed, "
        "it goes on from its last epoch when started again.",
    )
    train.add_argument("config", type=Path, help="file that `python -m search export` wrote")
    train.add_argument("--out", type=Path, required=True, help="folder for the model")
    train.add_argument(
        "--epochs", type=int, help="number of epochs (default: as in the configuration)"
    )
    train.add_argument("--seed", type=int, help="random seed (default: as in the configuration)")
    train.add_argument("--force", action="store_true", help="overwrite what --out holds")
    evaluate = commands.add_parser(
        "evaluate",
        help="score a model on the test set, and record that it was read",
        description="Read the test set with the model in DIR and print its accuracy. Each reading "
        "is recorded in the model's metrics.json.",
    )
    evaluate.add_argument("folder", type=Path, metavar="DIR", help="folder that `train` wrote")
    gallery = commands.add_parser(
        "augmentations",
        help="draw a picture of every augmentation on real training images",
        description="Draw a grid: one row an augmentation, the same training images in each.",
    )
    gallery.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="picture to write, such as grid.png"
    )
    for command in (train, evaluate, gallery):
        command.add_argument(
            "--data-dir", type=Path, help="folder of the four idx files (default: found or fetched)"
        )
    for command in (train, evaluate):
        command.add_argument("--device", help="cpu or cuda (default: cuda where there is a GPU)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; exit status 0, 2 a mistake, 3 disk or memory full, 130 Ctrl-C."""
    options = build_parser().parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except FmnistError as error:
        print(f"python -m fmnist_models {options.command}: {error}", file=sys.stderr)
        return 3 if isinstance(error, NoSpaceError | OutOfMemoryError) else 2
    except KeyboardInterrupt:
        print("interrupted: start it again to go on after the last epoch", file=sys.stderr)
        return 130


def _train(options: argparse.Namespace) -> int:
    config = _changed(read_config(options.config), options.epochs, options.seed)
    from fmnist_models.train import train

    metrics = train(
        config,
        options.out,
        data_dir=options.data_dir,
        device=_device(options.device),
        force=options.force,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    _print_score(options.out, metrics.test_accuracy, metrics.test_interval)
    return 0


def _changed(config: TrialConfig, epochs: int | None, seed: int | None) -> TrialConfig:
    """`config` with what the command line changes of it, checked again."""
    changes = {k: v for k, v in {"epochs": epochs, "seed": seed}.items() if v is not None}
    try:
        return TrialConfig.model_validate({**config.model_dump(), **changes})
    except ValidationError as error:
        raise ConfigError(f"--{explain(error)}") from None


def _evaluate(options: argparse.Namespace) -> int:
    from fmnist_models.evaluate import evaluate

    reading = evaluate(options.folder, options.data_dir, _device(options.device))
    _print_score(options.folder, reading.accuracy, reading.interval)
    return 0


def _augmentations(options: argparse.Namespace) -> int:
    from fmnist_models.gallery import draw_gallery

    draw_gallery(options.out, options.data_dir)
    print(options.out)
    return 0


def _print_score(
    folder: Path, accuracy: float | None, interval: tuple[float, float] | None
) -> None:
    if accuracy is not None and interval is not None:
        low, high = (100 * bound for bound in interval)
        print(
            f"{folder}: test accuracy {100 * accuracy:.2f} % "
            f"(95 % interval {low:.2f} to {high:.2f} %)"
        )


def _device(wanted: str | None) -> str:
    from fmnist_models.precision import default_device

    best = default_device()
    if wanted not in (None, "cpu", best):
        raise ConfigError(f"--device {wanted}: this machine has {best}; leave --device out")
    return wanted or best


COMMANDS = {"train": _train, "evaluate": _evaluate, "augmentations": _augmentations}

if __name__ == "__main__":
    sys.exit(main())
