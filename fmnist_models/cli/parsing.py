"""The command line of `python -m fmnist_models`: all commands and options, with their defaults."""

from __future__ import annotations

from typing import Any

from fmnist_models.cli.arguments import Parser, minutes, path, whole_number
from fmnist_models.output import program_name

PROGRAM = "python -m fmnist_models"
DESCRIPTION = """Final training of a configuration, its score, and what comes of it: model folders
that can be read about, used from the shell and from Python, combined and exported."""


def build_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(prog=program_name(PROGRAM), description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_onnx(commands)
    _add_ensemble(commands)
    distill = commands.add_parser(
        "distill",
        help="teach one network what an ensemble knows",
        description="Train a configuration as `train` does, on training images alone, with the "
        "probabilities of the model or ensemble in TEACHER as further targets (arXiv:1503.02531).",
    )
    distill.add_argument("teacher", type=path, metavar="TEACHER", help="model folder that teaches")
    distill.add_argument("config", type=path, help="configuration of the network that learns")
    _add_training(distill)
    distill.add_argument(
        "--temperature", type=float, default=2.0, help="softens both sides (default: %(default)s)"
    )
    distill.add_argument(
        "--share", type=float, default=0.9, help="of the teacher in the loss (default: %(default)s)"
    )
    gallery = commands.add_parser(
        "augmentations",
        help="draw a picture of every augmentation on real training images",
        description="Draw a grid: one row an augmentation, the same training images in each.",
    )
    gallery.add_argument(
        "--out", type=path, required=True, metavar="FILE", help="picture to write, such as grid.png"
    )
    gallery.add_argument("--force", action="store_true", help="overwrite a file that exists")
    _add_data(gallery)
    return parser


Commands = Any  # argparse's own name for it is private


def _add_training(command: Parser) -> None:
    command.add_argument("--out", type=path, required=True, help="folder for the model")
    command.add_argument(
        "--epochs", type=int, help="number of epochs (default: as in the configuration)"
    )
    command.add_argument("--seed", type=int, help="random seed (default: as in the configuration)")
    command.add_argument(
        "--max-minutes",
        type=minutes,
        metavar="M",
        help="lower the number of epochs, before the first, to what fits into M minutes by a short "
        "measurement (default: what an export of a search by time foresees, else no limit)",
    )
    command.add_argument(
        "--no-test",
        action="store_true",
        help="leave the test set unread, for members of an ensemble (default: read it at the end)",
    )
    _add_no_report(command)
    command.add_argument(
        "--force", action="store_true", help="start over, overwriting a model in --out"
    )
    _add_data(command)
    _add_device(command)


def _add_train(commands: Commands) -> None:
    train = commands.add_parser(
        "train",
        help="train a configuration on all training images, score it once on the test set",
        description="Train a configuration on all 60,000 training images for its number of "
        "epochs and keep the weights after the last one, averaged (EMA, SWA) if it says so; the "
        "test set is read once, at the end. Killed, it goes on from its last epoch when started "
        "again.",
    )
    train.add_argument(
        "config", type=path, help="file that `python -m search export` wrote, JSON or YAML"
    )
    _add_training(train)
    several = train.add_mutually_exclusive_group()
    several.add_argument(
        "--members",
        type=whole_number(1, 64),
        metavar="N",
        help="train an ensemble of N members side by side, each on its share of the CPU cores, "
        "with seeds upwards from the configuration's (default: for an export of a search by time a "
        "member a CPU core, 4 at most, where they are expected to be ahead of one network that all "
        "cores train, as small ones are after many passes over the images; else 1)",
    )
    several.add_argument(
        "--workers",
        type=whole_number(1, 64),
        metavar="N",
        help="train by N processes together, a CPU core or a GPU each, which share every batch; "
        "batch norms normalise each one's part by itself (default: where training takes two "
        "minutes or more on several CPU cores, a process a core, 16 images of a batch each at "
        "least, unless a short race says that it is slower; else 1). torchrun may start them "
        "instead",
    )
    several.add_argument(
        "--seeds",
        type=whole_number(1, 100),
        metavar="N",
        help="train N models, with seeds upwards from the configuration's, into OUT/seed-..., and "
        "report all (default: one model into OUT)",
    )


def _add_evaluate(commands: Commands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="score a model on the test set, and record that it was read",
        description="Read the test set with the model in DIR; print its accuracy with Wilson's "
        "95 % interval, precision, recall, F1 and false-positive rate of each class, the confusion "
        "matrix and the expected calibration error. Each reading is recorded in the model's "
        "metrics.json; model card, pictures and report.html are written anew.",
    )
    _add_folder(command)
    command.add_argument("--json", action="store_true", help="the reading as one JSON object")
    _add_no_report(command)
    _add_data(command)
    _add_device(command)


def _add_predict(commands: Commands) -> None:
    command = commands.add_parser(
        "predict",
        help="say what is on pictures",
        description="Say what is on ordinary picture files: of any size, colour or grey, with "
        "transparency or without, dark on light or light on dark, in a frame, dusty. One of which "
        "that cannot be told, as nothing is on it say, is a line on stderr, and status 2.",
    )
    _add_folder(command)
    command.add_argument("images", type=path, nargs="+", metavar="IMAGE", help="picture files")
    command.add_argument(
        "--invert",
        choices=("auto", "yes", "no"),
        default="auto",
        help="exchange light and dark, as the networks know light on black: yes for dark on light, "
        "no for light on dark, auto tells by the background (default: auto)",
    )
    command.add_argument(
        "--json",
        action="store_true",
        help="a JSON list with all probabilities of each picture, or an error",
    )
    _add_device(command)


def _add_onnx(commands: Commands) -> None:
    command = commands.add_parser(
        "export-onnx",
        help="write a model as one ONNX file, checked in onnxruntime",
        description="Write the model in DIR as one ONNX file: uint8 images (N, 1, 28, 28) in, "
        "probabilities out. It is written only if onnxruntime gives the same probabilities as "
        "torch, within 0.0001, on 256 real training images.",
    )
    _add_folder(command)
    command.add_argument(
        "--out", type=path, metavar="FILE", help="file to write (default: DIR/model.onnx)"
    )
    command.add_argument("--force", action="store_true", help="overwrite a file that exists")
    _add_data(command)


def _add_ensemble(commands: Commands) -> None:
    command = commands.add_parser(
        "ensemble",
        help="make one model of several: the mean of their probabilities",
        description="Average the probabilities of the models in the folders DIR, and of views of "
        "each image if asked for. All is fixed in OUT/config.json before the test set is read with "
        "it, which this command does not do. Members are models whose test set is unread "
        "(train --no-test), or all seeds of one train --seeds.",
    )
    command.add_argument(
        "folders", type=path, nargs="+", metavar="DIR", help="folders that `train` wrote"
    )
    command.add_argument("--out", type=path, required=True, help="folder for the ensemble")
    command.add_argument("--flip", action="store_true", help="look at mirrored images too")
    command.add_argument(
        "--shift",
        type=int,
        default=0,
        metavar="PIXELS",
        help="look at images moved up, down, left and right by so many pixels too, 0 to 4 "
        "(default: 0)",
    )
    command.add_argument(
        "--chosen-before-test",
        action="store_true",
        help="declare that members with a test score were not chosen by it; goes on record",
    )
    command.add_argument("--force", action="store_true", help="overwrite the model in --out")


def _add_folder(command: Parser) -> None:
    command.add_argument("folder", type=path, metavar="DIR", help="folder that `train` wrote")


def _add_no_report(command: Parser) -> None:
    command.add_argument(
        "--no-report", action="store_true", help="no model card, pictures and report.html"
    )


def _add_data(command: Parser) -> None:
    command.add_argument(
        "--data-dir", type=path, help="folder of the four idx files (default: found or fetched)"
    )


def _add_device(command: Parser) -> None:
    command.add_argument("--device", help="cpu or cuda (default: cuda where there is a GPU)")
