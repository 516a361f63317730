"""Making an ensemble of model folders: one folder with all weights, fixed before it is tested.

Who may be a member is a question of honesty: picked by test accuracy, the best three of ten would
make the ensemble's own test accuracy a lie. A folder cannot prove how it was picked, but it records
whether its test set was ever read, and `train --seeds` writes down its seeds before it begins.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from fmnist_models.config.training import ViewsConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.errors import ConfigError, DataError, OutputError
from fmnist_models.files import make_folder
from fmnist_models.final.seeds import read_seeds, seed_folder
from fmnist_models.saved_model.ensemble import Chosen, EnsembleConfig
from fmnist_models.saved_model.folder import (
    Header,
    ModelMetrics,
    load_config,
    load_metrics,
    load_trained,
    save_metrics,
    save_model,
)
from fmnist_models.saved_model.ownership import OURS, check_ours, foreign_names, remove_files
from fmnist_models.training.ensemble import Ensemble


def make_ensemble(
    sources: Sequence[Path], folder: Path, views: ViewsConfig, *, declared: bool, force: bool
) -> EnsembleConfig:
    """Write the ensemble of the models in `sources` into `folder`; the test set is not read.

    It looks at mirror images, too, if `views` say so or each of the models does.
    `declared`: the user's word that members with a test score were not chosen by it. Raises
    ConfigError when a source is no single model or may not be a member, DataError when they know
    different data sets, OutputError when `folder` holds something and `force` is not given.
    """
    _check_place(sources, folder, force)
    configs = [_single(source) for source in sources]
    chosen = _how_chosen(sources, declared)
    networks, headers = zip(*(load_trained(source, "cpu") for source in sources), strict=True)
    if all(header.mirrored for header in headers):
        views = views.model_copy(update={"flip": True})
    header = _common_header(sources, [replace(one, mirrored=False) for one in headers])
    config = EnsembleConfig(
        members=tuple(configs),
        views=views,
        chosen=chosen,
        sources=tuple(source.resolve().name for source in sources),
    )
    metrics = [load_metrics(source) for source in sources]
    if force:
        remove_files(folder)
    make_folder(folder)
    save_model(folder, _network(networks, config, header), config, header)
    save_metrics(folder, _metrics(metrics))
    return config


def _network(networks: Sequence[nn.Module], config: EnsembleConfig, header: Header) -> Ensemble:
    return Ensemble(networks, config.views, header.normalization.black)


def _check_place(sources: Sequence[Path], folder: Path, force: bool) -> None:
    """Raises OutputError when `folder` may not be written, ConfigError when a source is twice."""
    places = [source.resolve() for source in sources]
    if folder.resolve() in places:
        raise OutputError(f"--out {folder} is a member's own folder; give another")
    if len(set(places)) < len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise ConfigError(f"{twice} is named twice; name each member once")
    if not force and (foreign_names(folder) or any((folder / name).exists() for name in OURS)):
        raise OutputError(f"{folder} holds something already; give another --out, or --force")
    check_ours(folder, *OURS)


def _single(source: Path) -> TrialConfig:
    config = load_config(source)
    if not isinstance(config, TrialConfig):
        raise ConfigError(f"{source} is an ensemble already; name its members instead")
    return config


def _how_chosen(sources: Sequence[Path], declared: bool) -> Chosen:
    """How the members were chosen; raises ConfigError when that may have been by test accuracy."""
    read = [source for source in sources if load_metrics(source).test_readings]
    if not read:
        return "unread"
    if _are_all_seeds(sources):
        return "all seeds"
    if declared:
        return "declared"
    raise ConfigError(
        f"{read[0]} has been scored on the test set, so a member may have been chosen by that; "
        "train members with --no-test, or take all seeds of one train --seeds, or declare by "
        "--chosen-before-test that none was"
    )


def _are_all_seeds(sources: Sequence[Path]) -> bool:
    """Whether the sources are all the seeds of one `train --seeds`, and nothing else."""
    parents = {source.resolve().parent for source in sources}
    if len(parents) != 1:
        return False
    (parent,) = parents
    report = read_seeds(parent)
    if report is None:
        return False
    wanted = {seed_folder(parent, seed) for seed in report.seeds}
    same = all(
        load_config(source) == report.config.model_copy(update={"seed": seed})
        for source, seed in ((seed_folder(parent, seed), seed) for seed in report.seeds)
    )
    return same and {source.resolve() for source in sources} == wanted


def _common_header(sources: Sequence[Path], headers: Sequence[Header]) -> Header:
    """The header that all members share; raises DataError."""
    for source, header in zip(sources, headers, strict=True):
        if header != headers[0]:
            raise DataError(
                f"{source} was trained on other data than {sources[0]}; "
                "an ensemble's members must know the same"
            )
    return headers[0]


def _metrics(members: Sequence[ModelMetrics]) -> ModelMetrics:
    first = members[0]
    return ModelMetrics(
        train_images=first.train_images,
        train_seconds=sum(member.train_seconds for member in members),
        data=first.data,
        data_digest=first.data_digest,
        environment={
            **first.environment,
            "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
        epochs=[],
        member_epochs=tuple(tuple(member.epochs) for member in members),
    )
