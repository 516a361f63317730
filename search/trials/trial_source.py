"""New trials: a slot of the study's total, whoever else wants it, and a configuration for it."""

from __future__ import annotations

import warnings

import optuna

from fmnist_models.config.trial import TrialConfig
from search.trials.retry_chain import Chain
from spaces import Space, SpaceContext
from storage import StudyStore, queued_parameters, trial_id_of


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
        Raises UpdateFinishedTrialError when another driver has ended the trial.
        """
        if again:  # what was kept of its parameters, only the database knows
            trial = optuna.Trial(self.study, trial_id_of(trial))
        with warnings.catch_warnings(), self.store.parameters_held_back() as parameters:
            # A queued value that this machine can't afford; the session sees to that.
            warnings.filterwarnings("ignore", "Fixed parameter .* is out of range")
            sampled = self.space.suggest(
                trial, context.of_queued if self.is_queued(trial) else context
            )
        seed = (context.seed + trial.number) % 2**31
        fresh = context.allotted(sampled.model_copy(update={"seed": seed}))
        config = self._repeated(trial) or fresh
        self.store.configure(trial, self.launch_id, config.model_dump(mode="json"), parameters)
        return config

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
