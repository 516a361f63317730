"""New trials: a slot of the study's total, whoever else wants it, and a configuration for it."""

from __future__ import annotations

import warnings

import optuna

from fmnist_models.config.trial import TrialConfig
from search.trials.retry_chain import Chain
from spaces import Space, SpaceContext
from storage import Database

COUNTED = ("COMPLETE", "PRUNED", "RUNNING")


class Slots:
    """Asks Optuna for the trials of one launch."""

    def __init__(
        self, study: optuna.Study, database: Database, launch_id: int, space: Space, trials: int
    ) -> None:
        self.study, self.database, self.launch_id = study, database, launch_id
        self.space, self.trials = space, trials

    def reserve(self) -> optuna.Trial | None:
        """A trial, RUNNING from now on and this launch's; None when all of the total are taken.

        Queued ones come first. Exact between any number of drivers: finished and running trials
        are counted, and the new one made, in one transaction.
        """
        study_id = self.study._study_id
        with self.database.transaction(study_id):
            counts = self.database.counts(study_id)
            if sum(counts.get(state, 0) for state in COUNTED) >= self.trials:
                return None
            trial = self.study.ask()
            self._keep(trial, None)
        return trial

    def configure(self, trial: optuna.Trial, context: SpaceContext) -> TrialConfig:
        """Sample the configuration of a trial, or take that of the one it repeats; record it.

        Raises UpdateFinishedTrialError when another driver has ended the trial.
        """
        storage = self.database.optuna_storage
        with warnings.catch_warnings(), storage.parameters_held_back() as parameters:
            # A queued value that this machine can't afford; the session sees to that.
            warnings.filterwarnings("ignore", "Fixed parameter .* is out of range")
            allowed = context.of_queued if self.is_queued(trial) else context
            sampled = self.space.suggest(trial, allowed)
        seed = (context.seed + trial.number) % 2**31
        config = self._repeated(trial) or sampled.model_copy(update={"seed": seed})
        with self.database.transaction(self.study._study_id, trial._trial_id):
            storage.keep_parameters(trial._trial_id, parameters)
            self._keep(trial, config)
        return config

    def is_queued(self, trial: optuna.Trial) -> bool:
        """Whether the trial's parameters were queued, and not sampled."""
        return "fixed_params" in trial._cached_frozen_trial.system_attrs

    def _repeated(self, trial: optuna.Trial) -> TrialConfig | None:
        """What the trial's chain trained, seed and all, so that the curve is unbroken."""
        for number in Chain.of(trial.user_attrs).repeats:
            record = self.database.trial_record(self.study.study_name, number)
            if record is not None and record.config:
                return TrialConfig.model_validate(record.config)
        return None

    def _keep(self, trial: optuna.Trial, config: TrialConfig | None) -> None:
        repeats = Chain.of(trial.user_attrs).repeats
        self.database.add_trial(
            self.study.study_name,
            trial.number,
            self.launch_id,
            config.model_dump(mode="json") if config else {},
            retry_of=repeats[0] if repeats else None,
        )
