"""New trials: a slot of the study's total, whoever else wants it, and a configuration for it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from pydantic import ValidationError

from fmnist_models.config.base import explain
from fmnist_models.config.trial import TrialConfig
from search.planning.plan import NETWORK
from search.trials.retry_chain import Chain
from spaces import Space, SpaceContext
from storage import StudyStore, as_storage_error, queued_parameters, trial_id_of

if TYPE_CHECKING:
    from storage.optuna_storage import Parameter


class UnusableError(Exception):
    """What a trial was queued with, or sampled as, makes no configuration; the reason in a line."""


class Slots:
    """Asks Optuna for the trials of one launch."""

    def __init__(
        self, study: optuna.Study, store: StudyStore, launch_id: int, space: Space, trials: int
    ) -> None:
        self.study, self.store, self.launch_id = study, store, launch_id
        self.space, self.trials = space, trials

    def reserve(self) -> optuna.Trial | None:
        """A trial, RUNNING from now on and this launch's; None when all of the total are taken.

        Queued ones come first. Exact between any number of drivers.
        """
        return self.store.reserve(self.study.ask, self.trials, self.launch_id)

    def configure(
        self, trial: optuna.Trial, context: SpaceContext, again: bool = False
    ) -> TrialConfig:
        """Sample the configuration of a trial, or take that of the one it repeats; record it.

        `again` is for a trial whose configuration may have been kept, though nobody heard of it.
        Raises UpdateFinishedTrialError when another driver has ended the trial, UnusableError when
        its parameters, which anybody may have queued, make no configuration.
        """
        if again:  # what was kept of its parameters, only the database knows
            trial = optuna.Trial(self.study, trial_id_of(trial))
        try:
            config, parameters = self._made(trial, context)
        except UpdateFinishedTrialError:
            raise
        except Exception as error:
            if as_storage_error(error, self.store.url) is not None:
                raise
            raise UnusableError(f"no configuration: {_in_a_line(error)}") from error
        self.store.configure(trial, self.launch_id, config.model_dump(mode="json"), parameters)
        if config.epoch_images:
            trial.set_user_attr(NETWORK, _size(config))
        return config

    def _made(
        self, trial: optuna.Trial, context: SpaceContext
    ) -> tuple[TrialConfig, Sequence[Parameter]]:
        with warnings.catch_warnings(), self.store.parameters_held_back() as parameters:
            # A queued value that this machine can't afford; the session sees to that.
            warnings.filterwarnings("ignore", "Fixed parameter .* is out of range")
            sampled = self.space.suggest(
                trial, context.of_queued if self.is_queued(trial) else context
            )
        seed = (context.seed + trial.number) % 2**31
        fresh = context.allotted(sampled.model_copy(update={"seed": seed}))
        # Whole, as a space copies and changes parts, and takes what was queued as it is.
        whole = TrialConfig.model_validate(fresh.model_dump())
        return self._repeated(trial) or whole, parameters

    def is_queued(self, trial: optuna.Trial) -> bool:
        """Whether the trial's parameters were queued, and not sampled."""
        return queued_parameters(trial) is not None

    def _repeated(self, trial: optuna.Trial) -> TrialConfig | None:
        """What the trial's chain trained, seed and all, so that the curve is unbroken."""
        for number in Chain.of(trial.user_attrs).repeats:
            record = self.store.trial_record(number)
            if record is not None and record.config:
                return TrialConfig.model_validate(record.config)
        return None


def _size(config: TrialConfig) -> dict[str, int]:
    """By which is reckoned what more time, or a wider network, would be worth."""
    from fmnist_models.training.cost import model_cost  # here, as it imports torch

    cost = model_cost(config.model)
    return {"macs": cost.macs, "passes": cost.passes}


def _in_a_line(error: Exception) -> str:
    text = explain(error) if isinstance(error, ValidationError) else str(error)
    return " ".join(text.split()) or type(error).__name__
