"""Final training that is killed just before its n-th change to the disk, for every n; a program.

    python -m tests.models.final.killed DATA FOLDER

trains in FOLDER/whole once without a break, then once a moment in FOLDER/n: killed there, then
started again. Each line of the output is "n files", with what the killed run had left; at the end
all the models have to be the same, byte for byte. Forks, so that torch is imported once.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

import fmnist_models.final.train
from fmnist_models.compute.batch_norm import prepare_norms
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.training import RegularizationConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.idx import read_data_files
from fmnist_models.families.quick import QuickConfig
from fmnist_models.final.train import train
from fmnist_models.training.losses import build_network
from fmnist_models.training.optimizers import build_optimizer

CONFIG = TrialConfig(
    model=QuickConfig(width=4, depth=1, dropout=0.2),
    optimizer=SgdConfig(lr=0.05),
    regularization=RegularizationConfig(ema_decay=0.9),
    batch_size=64,
    epochs=2,
)
CHANGES = {"open", "os.rename", "os.remove", "os.mkdir"}
fmnist_models.final.train.choose_precision = lambda device: (
    "fp32"
)  # the same each time, and no race


def in_a_child(folder: Path, data: Path, killed_at: int = 0) -> bool:
    """Train in a process of its own; whether it came to its end."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        if killed_at:
            kill_before_change(killed_at, folder)
        train(CONFIG, folder, files=read_data_files(data), device="cpu", force=False, say=len)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status:
        raise SystemExit(f"training in {folder} ended with status {status}")
    return True


def kill_before_change(number: int, folder: Path) -> None:
    """Kill this process before its so many-th call that changes something at `folder`."""
    changes = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal changes
        if event not in CHANGES or not str(arguments[0]).startswith(str(folder)):
            return
        if event == "open" and not isinstance(arguments[2], int):
            return
        if event == "open" and not int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR):
            return
        if event == "os.remove" and not os.path.lexists(str(arguments[0])):
            return
        changes += 1
        if changes == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def warm_up() -> None:
    """Import and compile what training uses, once for all; no network may go backward here."""
    torch.set_num_threads(1)
    network = build_network(CONFIG, 10)
    optimizer = build_optimizer(network, CONFIG.optimizer)
    network(torch.zeros(64, 1, 28, 28))
    prepare_norms(network, "cpu", "fp32")
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


def main(data: Path, folder: Path) -> None:
    """Go through all moments until one lies beyond the end."""
    warm_up()
    assert in_a_child(folder / "whole", data)
    for number in range(1, 200):
        place = folder / str(number)
        if in_a_child(place, data, number):
            return
        left = sorted(p.name for p in place.iterdir()) if place.exists() else []
        print(number, *left, flush=True)
        assert in_a_child(place, data)
    raise SystemExit("there is no end to the changes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
