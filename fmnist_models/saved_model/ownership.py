"""What in a model folder is ours: nothing else is overwritten or removed, and no link is followed.

Each of our files says so by how it begins, so that one that is damaged can be replaced too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fmnist_models.errors import OutputError
from fmnist_models.files import MAKER
from fmnist_models.saved_model.ensemble import ENSEMBLE_FORMAT
from fmnist_models.saved_model.folder import (
    CARD,
    CHECKPOINT,
    CONFIG,
    EVENTS,
    EVENTS_SUFFIX,
    MEMBERS,
    METRICS,
    METRICS_FORMAT,
    ONNX,
    PICTURES,
    REPORT,
    SEEDS,
    SEEDS_FORMAT,
    TEACHER,
    WEIGHTS,
)

OURS = (WEIGHTS, CONFIG, METRICS, CARD, REPORT, PICTURES, EVENTS, TEACHER, ONNX, CHECKPOINT)
"""All that we put into a model folder beside MEMBERS; anything else there is somebody's own."""
_HEAD_BYTES = 600
_BEGINNINGS: dict[str, tuple[str, ...]] = {
    WEIGHTS: ('"__metadata__":{"classes":"',),
    CONFIG: (
        '{\n  "model": {\n    "family": "',
        '{"model":{"family":"',
        f'{{\n  "format": "{ENSEMBLE_FORMAT}"',
    ),
    METRICS: (f'{{\n  "format": "{METRICS_FORMAT}"', '"test_interval": '),
    SEEDS: (f'{{\n  "format": "{SEEDS_FORMAT}"',),
    TEACHER: ('{\n  "source": "',),
    CARD: (f"---\nlibrary_name: {MAKER}\n",),
    REPORT: (f'<meta name="generator" content="{MAKER}">', " % test accuracy (95 % interval "),
    ONNX: (MAKER,),
    CHECKPOINT: ("PK\x03\x04",),  # torch's, after the checksum
    ".png": (f"Software\0{MAKER}",),
}
"""What stands near the start of each, by its name or ending; the second of METRICS and of REPORT
stood there before they named their maker."""


def foreign_names(folder: Path) -> list[str]:
    """The names in `folder` that are not ours, sorted; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted({path.name for path in folder.iterdir()} - {*OURS, MEMBERS})


def check_ours(folder: Path, *names: str) -> None:
    """Raises OutputError when something in `folder` under one of the `names` is not ours.

    Without names, all that we put into a model folder are meant, its members' folders too. A link
    is not ours; what holds nothing is nobody's.
    """
    for path in _so_called(folder, names or (*OURS, MEMBERS)):
        if not _is_ours(path):
            what = "is a link" if path.is_symlink() else f"does not say that {MAKER} wrote it"
            raise OutputError(
                f"{folder} holds something else: {path.relative_to(folder)} {what}; "
                "move it away, or give another --out"
            )


def _so_called(folder: Path, names: tuple[str, ...]) -> Iterator[Path]:
    """What is in `folder` under our names, each folder before what is in it."""
    for name in names:
        path = folder / name
        if not path.exists() and not path.is_symlink():
            continue
        yield path
        if name == PICTURES:
            yield from path.glob("*.png")
        elif name == MEMBERS:
            for member in path.glob("member-*"):
                yield member
                yield from _so_called(member, OURS)


def _is_ours(path: Path) -> bool:
    if path.is_symlink():
        return False
    beginnings = _BEGINNINGS.get(path.name) or _BEGINNINGS.get(path.suffix)
    if beginnings is None:
        return path.is_dir()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return not head or any(text.encode() in head for text in beginnings)


def remove_model(folder: Path) -> None:
    """Remove what we put into a model folder, its members' folders too, and nothing else.

    Raises OutputError, with nothing removed, where `check_ours` does.
    """
    check_ours(folder)
    for member in (folder / MEMBERS).glob("member-*"):
        remove_files(member)
        with suppress(OSError):  # it holds something else
            member.rmdir()
    with suppress(OSError):  # missing, or not empty
        (folder / MEMBERS).rmdir()
    remove_files(folder)


def remove_files(folder: Path) -> None:
    """Likewise, but for the members' folders."""
    check_ours(folder, *OURS)
    within = {PICTURES: "*.png", EVENTS: f"*{EVENTS_SUFFIX}"}
    for name in OURS:
        path = folder / name
        if name in within:
            for file in path.glob(within[name]):
                file.unlink()
            with suppress(OSError):  # missing, or not empty
                path.rmdir()
        else:
            path.unlink(missing_ok=True)
