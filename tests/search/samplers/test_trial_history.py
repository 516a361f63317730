"""What a model is told of a study's trials."""

import optuna
from optuna.trial import TrialState

from search.samplers.trial_history import TrialHistoryReader


def test_a_running_trial_is_read_anew_until_it_has_ended() -> None:
    study = optuna.create_study(direction="maximize")
    trial, reader = study.ask(), TrialHistoryReader()
    trial.suggest_float("x", 0, 1)
    for epoch, value in enumerate((0.5, 0.7), start=1):
        trial.report(value, epoch)
        history = reader.read(study, study.ask().number)
        assert history.curves == [{1: 0.5, 2: 0.7} if epoch == 2 else {1: 0.5}]
        assert (history.running.tolist(), history.ends) == ([True], [])
        assert not reader.knows(study, 1), "only finished trials are remembered"
    study.tell(trial, state=TrialState.PRUNED)
    history = reader.read(study, study.ask().number)
    assert history.curves == [{1: 0.5, 2: 0.7}]
    assert (history.running.tolist(), history.ends) == ([False], [2])
    assert reader.knows(study, 1)
