"""Trial schedulers: pure logic that says after each epoch whether a trial goes on.

A scheduler's state is a function of the intermediate values that were reported, so it is rebuilt
from SQL with `observe` and needs no checkpoint of its own. Values are validation accuracies,
larger is better; the resource is the epoch, counted from 1.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from fmnist_models.config.base import Config


class Decision(Config):
    """The scheduler's word on a trial after an epoch; `rung` is the epoch of the rung compared at.

    `cutoff` is the value below which the trial would be stopped; None where nothing was compared.
    """

    action: Literal["continue", "stop"]
    epoch: int
    value: float
    rung: int | None = None
    cutoff: float | None = None
    reason: str


class TrialScheduler(Protocol):
    """What the search asks; implementations are below.

    `number` stands for a trial and all that repeat it: of a chain, the first. Several drivers
    search one study: each observes the values of all, in the order in which SQL has them, and its
    own too. So `decide` keeps nothing, and what was decided can be decided again from SQL.
    """

    def compares(self, number: int, epoch: int) -> bool:
        """Whether the value of this epoch is ever compared with another's, or another's with it.

        Such values are kept one at a time, so that every driver has seen the same before the next.
        """

    def observe(self, number: int, epoch: int, value: float) -> None:
        """Take in a value; one of the same trial and epoch is replaced."""

    def decide(self, number: int, epoch: int, value: float) -> Decision:
        """Judge trial `number`, which reports `value` for `epoch`, by what was observed before."""


class Fifo:
    """Every trial runs all its epochs."""

    def compares(self, number: int, epoch: int) -> bool:
        """Never."""
        return False

    def observe(self, number: int, epoch: int, value: float) -> None:
        """Nothing is compared, so nothing is kept."""

    def decide(self, number: int, epoch: int, value: float) -> Decision:
        """Always: continue."""
        return Decision(action="continue", epoch=epoch, value=value, reason="fifo never stops")


class Asha:
    """Asynchronous successive halving (arXiv:1810.05934), the stopping variant.

    Rungs stand at grace_period * reduction_factor^k epochs, below `epochs`. At a rung a trial is
    stopped if it lies under the (1 - 1 / reduction_factor) quantile of those that were there
    before it; the first at a rung always goes on. Decides as Ray Tune's ASHAScheduler does.
    """

    def __init__(self, grace_period: int, reduction_factor: int, epochs: int) -> None:
        self.quantile = 1 - 1 / reduction_factor
        self.rungs: dict[int, dict[int, float]] = {}
        rung = grace_period
        while rung < epochs:
            self.rungs[rung] = {}
            rung *= reduction_factor

    def compares(self, number: int, epoch: int) -> bool:
        """At rungs."""
        return epoch in self.rungs

    def observe(self, number: int, epoch: int, value: float) -> None:
        """Put the value into its rung, if the epoch is one."""
        if epoch in self.rungs:
            self.rungs[epoch][number] = value

    def decide(self, number: int, epoch: int, value: float) -> Decision:
        """Compare at a rung; go on between rungs."""
        if epoch not in self.rungs:
            return Decision(action="continue", epoch=epoch, value=value, reason="between rungs")
        others = [v for trial, v in self.rungs[epoch].items() if trial != number]
        if not others:
            return Decision(
                action="continue", epoch=epoch, value=value, rung=epoch, reason="first at the rung"
            )
        cutoff = float(np.quantile(others, self.quantile))
        return _compare(epoch, value, epoch, cutoff, f"{len(others)} others at rung {epoch}")


class QuotaAsha(Asha):
    """ASHA that lets only so many trials pass a rung, for samplers that learn.

    When each configuration is better than those before it, all of them are among the best of a
    rung so far, and stopping ASHA lets nearly all run to the end. Of n trials, ASHA that promotes
    lets n / reduction_factor^(k+1) through the k-th rung, counted from 0; here it is `SLACK` times
    that, rounded down, as who was stopped can't be promoted later. So not even the first at a rung
    always pass, which may be poor and would take a good part of a small budget: only the very first
    at the first rung does, beyond the quota, as there is nothing to compare it with. The best so
    far at a rung passes beyond it once `exempt_from` trials have reported at the first rung.
    """

    SLACK = 1.5
    EXEMPT_FROM = 12
    """Trials; where the search has fewer than four times as many in all, a quarter of those."""

    def __init__(
        self, grace_period: int, reduction_factor: int, epochs: int, trials: int | None = None
    ) -> None:
        super().__init__(grace_period, reduction_factor, epochs)
        least = self.EXEMPT_FROM
        self.exempt_from = least if trials is None else min(least, trials // 4)
        self._factor = reduction_factor
        self._passed: dict[int, set[int]] = {rung: set() for rung in self.rungs}

    def observe(self, number: int, epoch: int, value: float) -> None:
        """Put the value into its rung, and note whether the trial passes."""
        if epoch in self.rungs:
            self._passed[epoch].discard(number)
            passes = self.decide(number, epoch, value).action == "continue"
            if passes and not self._is_very_first(number, epoch):
                self._passed[epoch].add(number)
        super().observe(number, epoch, value)

    def _is_very_first(self, number: int, epoch: int) -> bool:
        """Whether no other has come to this rung, the first."""
        return epoch == min(self.rungs) and not set(self.rungs[epoch]) - {number}

    def decide(self, number: int, epoch: int, value: float) -> Decision:
        """As ASHA does; what it lets pass is stopped where the quota is used up."""
        decision = super().decide(number, epoch, value)
        if epoch not in self.rungs or decision.action == "stop":
            return decision
        if self._is_very_first(number, epoch):
            return decision
        first, place = self.rungs[min(self.rungs)], list(self.rungs).index(epoch)
        at_first_rung = len(first) + (number not in first)
        passed = len(self._passed[epoch] - {number})
        quota = int(self.SLACK * at_first_rung / self._factor ** (place + 1))
        if passed < quota:
            return decision
        reason = f"{quota} of {at_first_rung} may pass rung {epoch}, {passed} have"
        if at_first_rung < self.exempt_from:
            stop = {"action": "stop", "rung": epoch, "cutoff": None, "reason": reason}
            return decision.model_copy(update=stop)
        if decision.cutoff is None:
            return decision
        best = max(v for trial, v in self.rungs[epoch].items() if trial != number)
        return _compare(epoch, value, epoch, best, f"the best, as {reason}")


class Hyperband:
    """Asynchronous Hyperband (arXiv:1810.05934, section 3): ASHA in several brackets.

    Bracket s starts its rungs at grace_period * reduction_factor^s. A trial belongs to a bracket by
    its number alone, in shares that give each bracket about the same work, so that a rebuilt
    scheduler puts it into the same one.
    """

    def __init__(self, grace_period: int, reduction_factor: int, epochs: int) -> None:
        self.brackets: list[Asha] = []
        grace = grace_period
        while grace < epochs or not self.brackets:
            self.brackets.append(Asha(grace, reduction_factor, epochs))
            grace *= reduction_factor
        shares = np.array([float(reduction_factor) ** -s for s in range(len(self.brackets))])
        self._bounds = np.cumsum(shares / shares.sum())

    def bracket(self, number: int) -> Asha:
        """The bracket of trial `number`: a low-discrepancy draw by the golden ratio."""
        place = (number * 0.6180339887498949) % 1.0
        index = int(np.searchsorted(self._bounds, place, side="right"))
        return self.brackets[min(index, len(self.brackets) - 1)]

    def observe(self, number: int, epoch: int, value: float) -> None:
        """Take the value into the trial's bracket."""
        self.bracket(number).observe(number, epoch, value)

    def compares(self, number: int, epoch: int) -> bool:
        """At the rungs of the trial's bracket."""
        return self.bracket(number).compares(number, epoch)

    def decide(self, number: int, epoch: int, value: float) -> Decision:
        """As the trial's bracket decides."""
        return self.bracket(number).decide(number, epoch, value)


class MedianStopping:
    """The median stopping rule of Google Vizier (KDD 2017, section 3.2.2).

    After `grace_period` epochs a trial is stopped if its best value so far lies under the median of
    the other trials' running means up to the same epoch, once three others have got there.
    """

    least_others = 3

    def __init__(self, grace_period: int) -> None:
        self.grace_period = grace_period
        self.values: dict[int, dict[int, float]] = {}

    def observe(self, number: int, epoch: int, value: float) -> None:
        """Keep the value in the trial's curve."""
        self.values.setdefault(number, {})[epoch] = value

    def compares(self, number: int, epoch: int) -> bool:
        """Always: every value is part of a running mean."""
        return True

    def decide(self, number: int, epoch: int, value: float) -> Decision:
        """Compare from the grace period's last epoch on."""
        means = [
            float(np.mean([v for e, v in curve.items() if e <= epoch]))
            for other, curve in self.values.items()
            if other != number and max(curve) >= epoch
        ]
        if epoch < self.grace_period or len(means) < self.least_others:
            return Decision(
                action="continue", epoch=epoch, value=value, reason="too early to compare"
            )
        own = self.values.get(number, {})
        best = max([value, *(v for e, v in own.items() if e < epoch)])
        return _compare(
            epoch, best, None, float(np.median(means)), f"median of {len(means)} others"
        )


def _compare(epoch: int, value: float, rung: int | None, cutoff: float, against: str) -> Decision:
    action: Literal["continue", "stop"] = "stop" if value < cutoff else "continue"
    sign = "<" if action == "stop" else ">="
    reason = f"{value:.4f} {sign} {cutoff:.4f}, {against}"
    return Decision(
        action=action, epoch=epoch, value=value, rung=rung, cutoff=cutoff, reason=reason
    )


def make_scheduler(
    name: str, *, grace_period: int, reduction_factor: int, epochs: int, trials: int | None = None
) -> TrialScheduler:
    """The scheduler called `name` (see `settings.SCHEDULERS`), with nothing observed yet.

    `trials` are those of the whole study, where that is known.
    """
    match name:
        case "asha":
            return Asha(grace_period, reduction_factor, epochs)
        case "quota":
            return QuotaAsha(grace_period, reduction_factor, epochs, trials)
        case "hyperband":
            return Hyperband(grace_period, reduction_factor, epochs)
        case "median":
            return MedianStopping(grace_period)
        case "fifo":
            return Fifo()
    raise ValueError(f"unknown scheduler {name!r}")
