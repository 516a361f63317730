"""Trials that repeat others: which are queued again, how often, and what they go on from.

A trial that was interrupted or failed is ended as FAIL, and a new one with its parameters is
queued in the same transaction. The new trial's attributes hold its chain: what it repeats, so
that it takes over the configuration and goes on from the last checkpoint, and what was tried
before, so that it is not repeated without end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from storage import RETRY_OF, StudyStore

if TYPE_CHECKING:  # it needs torch, which, as Optuna, commands that only read do without
    from search.workers.messages import Failure


KNOWN_GOOD, INTERRUPTED = "known_good", "interrupted"
"""Attributes of a trial: which of the space's points it is; that it was given up through no fault
of its own."""
CHAIN, RETRIES, MICRO_BATCHES = "repeats", "retries", "micro_batches"
"""Attributes of a trial that repeats others; see `Chain`."""
DEATHS, EPOCHS = "deaths", "epochs_then"
"""Likewise; see `Chain`."""
MOST_DEATHS = 3
"""Drivers that die with a trial, one after the other and without another epoch of it between, until
it is taken for their cause."""
RETRIED = ("raised", "hung", "worker_died")
MOST_MICRO_BATCHES = 4


@dataclass(frozen=True)
class Chain:
    """What a trial repeats and with what; a trial that repeats none has the defaults.

    `repeats` are the numbers of the trials before it in the chain, the newest first; `retries` how
    many of them failed by themselves; `micro_batches` in how many parts a batch is processed.
    `deaths` drivers have died since the chain had more than `epochs` epochs.
    """

    repeats: tuple[int, ...] = ()
    retries: int = 0
    micro_batches: int = 1
    known_good: str | None = None
    deaths: int = 0
    epochs: int = 0

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Chain:
        """The chain that a trial's user attributes tell of.

        Anybody may have written them: what is not of its kind counts as not there.
        """
        retry_of, repeats = attributes.get(RETRY_OF), attributes.get(CHAIN)
        if not isinstance(repeats, list):  # studies of earlier versions have the last link only
            repeats = [retry_of]
        known_good = attributes.get(KNOWN_GOOD)
        return cls(
            repeats=tuple(repeats) if all(isinstance(one, int) for one in repeats) else (),
            retries=_number(attributes, RETRIES, 0),
            micro_batches=_number(attributes, MICRO_BATCHES, 1),
            known_good=known_good if isinstance(known_good, str) else None,
            deaths=_number(attributes, DEATHS, 0),
            epochs=_number(attributes, EPOCHS, 0),
        )

    def root(self, number: int) -> int:
        """The first trial of the chain of trial `number`: schedulers take a chain for one trial."""
        return self.repeats[-1] if self.repeats else number

    def after(self, number: int, failure: Failure | None, retries: int) -> Chain | None:
        """The chain of the trial that repeats `number`, or None where none shall.

        Without a failure it was interrupted. What raised, hung or lost its worker is repeated
        `retries` times; what ran out of memory with twice the micro-batches, up to four.
        """
        longer = replace(self, repeats=(number, *self.repeats))
        if failure is None:
            return longer
        if failure.kind in RETRIED and self.retries < retries:
            return replace(longer, retries=self.retries + 1)
        if failure.kind == "out_of_memory" and 2 * self.micro_batches <= MOST_MICRO_BATCHES:
            return replace(longer, micro_batches=2 * self.micro_batches)
        return None

    def after_death(self, number: int, epochs: int) -> Chain | None:
        """As `after`, of a trial with so many epochs whose driver has died."""
        deaths = 1 if epochs > self.epochs else self.deaths + 1
        if deaths >= MOST_DEATHS:
            return None
        most = max(self.epochs, epochs)
        return replace(self, repeats=(number, *self.repeats), deaths=deaths, epochs=most)

    def attributes(self) -> dict[str, Any]:
        """The user attributes that tell of this chain, for a trial that repeats others."""
        known_good = {} if self.known_good is None else {KNOWN_GOOD: self.known_good}
        return {
            RETRY_OF: self.repeats[0],
            CHAIN: list(self.repeats),
            RETRIES: self.retries,
            MICRO_BATCHES: self.micro_batches,
            DEATHS: self.deaths,
            EPOCHS: self.epochs,
            **known_good,
        }


def _number(attributes: Mapping[str, Any], name: str, least: int) -> int:
    found = attributes.get(name)
    return found if isinstance(found, int) and found >= least else least


def failure_reason(failure: Failure, again: Chain | None) -> str:
    """The reason of a FAIL: its kind, what happened, and whether it is tried again."""
    head, _, rest = failure.reason.partition("\n")
    head = head if head.startswith(failure.kind) else f"{failure.kind}: {head}"
    if again is not None:
        parts = f", in {again.micro_batches} micro-batches" if again.micro_batches > 1 else ""
        head = f"{head}; queued again{parts}"
    return f"{head}\n{rest}" if rest else head


def give_up(store: StudyStore, trial_id: int, reason: str, *, died: bool = False) -> int | None:
    """End a running trial as FAIL through no fault of its own, and queue its parameters again.

    Not again where its driver `died`, as others had with it. Returns its number, or None where
    another driver was first.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    try:
        with store.transaction():
            trial = store.trial(trial_id)
            if trial.state != TrialState.RUNNING:
                return None
            chain, number = Chain.of(trial.user_attrs), trial.number
            if died:
                again = chain.after_death(number, len(trial.intermediate_values))
            else:
                again = chain.after(number, None, 0)
            if again is None:
                reason = f"{reason}, {MOST_DEATHS} times without another epoch: not tried again"
            else:
                reason = f"{reason}; queued again"
            attributes = again.attributes() if again else None
            store.fail_trial(trial, reason, attributes={INTERRUPTED: True}, again=attributes)
    except UpdateFinishedTrialError:  # just now, by the driver that was taken for dead
        return None
    return trial.number
