"""The training engine: what an epoch measures, what it refuses, what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fmnist_models.compute.precision import Precision
from fmnist_models.config.base import ModelConfig
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.training import LrScheduleConfig, RegularizationConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset, Images
from fmnist_models.errors import ConfigError, DivergedError
from fmnist_models.families.quick import QuickConfig
from fmnist_models.families.wrn import WrnConfig
from fmnist_models.training.inference import EVALUATION_BATCH, predict
from fmnist_models.training.lr_schedules import lr_factor
from fmnist_models.training.metrics import EpochMetrics
from fmnist_models.training.trainer import Trainer

MakeConfig = Callable[..., TrialConfig]
precisions = pytest.mark.parametrize("precision", ["fp32", "bf16"])


def trainer(config: TrialConfig, dataset: Dataset, precision: Precision = "fp32") -> Trainer:
    return Trainer(config, dataset, device="cpu", precision=precision)


def logits_of(
    model: nn.Module, images: Images, dataset: Dataset, precision: Precision = "fp32"
) -> Tensor:
    return predict(model, images, dataset.normalization, precision)


def without_validation(dataset: Dataset) -> Dataset:
    return replace(dataset, validation=dataset.validation.subset(torch.arange(0)))


@precisions
def test_three_epochs_learn(data: Dataset, precision: Precision) -> None:
    if precision == "bf16":  # slow where it is emulated
        data = replace(data, train=data.train.subset(torch.arange(1500)))
    config = TrialConfig(
        model=QuickConfig(width=8, depth=1),
        optimizer=SgdConfig(lr=0.1),
        regularization=RegularizationConfig(ema_decay=0.9),
        batch_size=64,
        epochs=3,
    )
    first, second, third = trainer(config, data, precision).epochs()
    assert first.train_loss > second.train_loss > third.train_loss
    assert third.val_accuracy is not None
    assert third.val_accuracy > 0.5
    assert third.train_accuracy > 0.5


def test_the_average_is_worth_something_after_the_first_epoch(data: Dataset) -> None:
    scores = []
    for decay in (0.0, 0.998):
        config = TrialConfig(
            model=QuickConfig(width=8, depth=1),
            optimizer=SgdConfig(lr=0.05),
            regularization=RegularizationConfig(ema_decay=decay),
            batch_size=64,
            epochs=9,
        )
        scores.append(trainer(config, data).run_epoch().val_accuracy)
    raw, averaged = scores
    assert raw is not None
    assert averaged is not None
    assert averaged > raw - 0.1
    assert averaged > 0.4


def test_metrics_are_what_they_say(few: Dataset, everything_on: MakeConfig) -> None:
    config = everything_on()
    run = trainer(config, few)
    for number, metrics in enumerate(run.epochs(), start=1):
        assert metrics.epoch == run.epoch == number
        assert (metrics.train_accuracy * 500) % 1 == pytest.approx(0, abs=1e-6)  # 5 batches of 100
        assert (metrics.val_accuracy or 0) * 256 % 1 == 0
        last_step = (5 * number - 0.5) / 15
        lr = config.optimizer.lr * lr_factor(config.lr_schedule, last_step)
        assert metrics.lr == pytest.approx(lr)
        assert 0 < metrics.seconds < 60
        assert metrics.images_per_second >= 500 / metrics.seconds
        assert 50e6 < metrics.peak_memory_bytes < 1e12
    assert run.epoch == 3
    assert list(run.epochs()) == []


@pytest.mark.parametrize("decay", [0.0, 0.9])
@precisions
def test_validation_figures_are_those_of_the_averaged_model(
    few: Dataset, everything_on: MakeConfig, decay: float, precision: Precision
) -> None:
    """In the last epoch together with mirror images, as it was trained on such."""
    config = everything_on(regularization=RegularizationConfig(ema_decay=decay), epochs=2)
    assert config.augmentation.flip
    run = trainer(config, few, precision)
    images = few.normalization(few.validation.images)
    for looks in ([images], [images, images.flip(3)]):
        metrics = run.run_epoch()
        assert (run.averaged_model is run.model) == (decay == 0)
        check_figures(metrics, run.averaged_model, looks, few.validation.labels, precision)


def check_figures(
    metrics: EpochMetrics,
    model: nn.Module,
    looks: list[Tensor],
    labels: Tensor,
    precision: Precision,
) -> None:
    """Of the mean probabilities of several looks at the images."""
    with torch.no_grad():
        logits = torch.stack([model.eval()(look).softmax(1) for look in looks]).mean(0).log()
    loss = cross_entropy(logits, labels).item()
    hits = (logits.argmax(1) == labels).float().mean().item()
    near = 1e-5 if precision == "fp32" else 0.03
    assert metrics.val_loss == pytest.approx(loss, rel=near)
    assert metrics.val_accuracy == pytest.approx(hits, abs=near)


def test_the_running_loss_is_the_mean_over_the_batches(few: Dataset) -> None:
    """With next to no learning rate, it is that of the model that stands still."""
    config = TrialConfig(
        model=QuickConfig(width=8, depth=1, batch_norm=False),
        optimizer=SgdConfig(lr=1e-12),
        batch_size=128,
        epochs=1,
    )
    run = trainer(config, few)
    metrics = run.run_epoch()
    logits = logits_of(run.model, few.train, few)
    assert metrics.train_loss == pytest.approx(cross_entropy(logits, few.train.labels).item())
    hits = (logits.argmax(1) == few.train.labels).float().mean().item()
    assert metrics.train_accuracy == pytest.approx(hits)


def test_the_average_is_taken_after_every_step_of_the_whole_run(
    few: Dataset, everything_on: MakeConfig
) -> None:
    run = trainer(everything_on(batch_size=512, epochs=4), few)  # one step an epoch
    expected = [p.clone() for p in run.model.parameters()]
    for step in range(4):
        run.run_epoch()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = [
            decay * old + (1 - decay) * new
            for old, new in zip(expected, run.model.parameters(), strict=True)
        ]
    torch.testing.assert_close(list(run.averaged_model.parameters()), expected)


def test_training_goes_on_in_training_mode_after_a_validation(few: Dataset) -> None:
    config = TrialConfig(
        model=QuickConfig(width=8, depth=1),
        optimizer=SgdConfig(lr=0.01),
        batch_size=128,
        epochs=2,
    )
    run = trainer(config, few)
    list(run.epochs())
    assert run.averaged_model is run.model  # which the validation scored in evaluation mode
    norms = [m for m in run.model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {int(m.num_batches_tracked or 0) for m in norms} == {8}


def test_label_smoothing_is_in_the_training_loss_alone(few: Dataset) -> None:
    runs = []
    for smoothing in (0.0, 0.3):
        config = TrialConfig(
            model=QuickConfig(width=8, depth=1),
            optimizer=SgdConfig(lr=1e-12),
            regularization=RegularizationConfig(label_smoothing=smoothing),
            batch_size=128,
            epochs=1,
        )
        runs.append(trainer(config, few).run_epoch())
    assert runs[0].train_loss != pytest.approx(runs[1].train_loss, rel=1e-3)
    assert runs[0].val_loss == pytest.approx(runs[1].val_loss)


@pytest.mark.parametrize("count", [1, 256, EVALUATION_BATCH, EVALUATION_BATCH + 1])
def test_predict_gives_the_logits_of_every_image_in_order(
    data: Dataset, everything_on: MakeConfig, count: int
) -> None:
    model = trainer(everything_on(), data).model
    images = data.train.subset(torch.arange(count))
    logits = logits_of(model, images, data)
    assert (logits.shape, logits.dtype) == ((count, 10), torch.float32)
    last = logits_of(model, images.subset(torch.tensor([count - 1])), data)
    torch.testing.assert_close(logits[-1:], last, rtol=1e-4, atol=1e-5)
    rough = logits_of(model, images, data, "bf16")
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, logits, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        (QuickConfig(width=8, depth=1, batch_norm=False), "fp32"),
        (QuickConfig(width=8, depth=1, batch_norm=False), "bf16"),
        (WrnConfig(depth=10, batch_norm=False), "fp32"),
    ],
    ids=["quick", "quick-bf16", "wrn"],
)
def test_a_run_that_diverges_says_so(
    few: Dataset, precision: Precision, model: ModelConfig
) -> None:
    config = TrialConfig(
        model=model,
        optimizer=SgdConfig(lr=10.0, weight_decay=1.0),
        lr_schedule=LrScheduleConfig(kind="constant"),
        batch_size=64,
        epochs=3,
    )
    run = trainer(config, few, precision)
    with pytest.raises(DivergedError, match=r"^the loss became \w+ with lr 10; lower the lr$"):
        list(run.epochs())


def test_a_batch_larger_than_the_data_is_refused(few: Dataset, everything_on: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"^batch_size 513 is larger than the 512 training "):
        trainer(everything_on(batch_size=513), few)
    assert trainer(everything_on(batch_size=512), few).run_epoch().epoch == 1


def test_without_validation_images_there_are_no_figures_of_them(
    few: Dataset, everything_on: MakeConfig
) -> None:
    with_figures = trainer(everything_on(), few).run_epoch()
    metrics = trainer(everything_on(), without_validation(few)).run_epoch()
    assert (metrics.val_loss, metrics.val_accuracy) == (None, None)
    assert metrics.train_loss == with_figures.train_loss


@precisions
def test_training_leaves_the_global_generator_and_the_data_alone(
    few: Dataset, everything_on: MakeConfig, precision: Precision
) -> None:
    images = few.train.images.clone()
    state = torch.get_rng_state()
    run = trainer(everything_on(), few, precision)
    assert torch.equal(torch.get_rng_state(), state)
    run.run_epoch()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(few.train.images, images)


def test_a_run_that_raises_leaves_the_global_generator_alone(few: Dataset) -> None:
    config = TrialConfig(
        model=QuickConfig(width=8, depth=1, batch_norm=False, dropout=0.5),
        optimizer=SgdConfig(lr=10.0),
        batch_size=16,
        epochs=20,
    )
    state = torch.get_rng_state()
    with pytest.raises(DivergedError):
        list(trainer(config, few).epochs())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("patience", [0, 1])
def test_early_epochs_are_scored_by_some_images_and_whatever_ends_a_run_by_all(
    few: Dataset, patience: int
) -> None:
    config = TrialConfig(
        model=QuickConfig(width=4, depth=1, batch_norm=False),
        optimizer=SgdConfig(lr=1e-9),  # learns nothing, so that patience is over at once
        regularization=RegularizationConfig(ema_decay=0.0),
        batch_size=64,
        epochs=4,
        early_validation_images=100,
        patience=patience,
    )
    run = trainer(config, few)
    scored: list[int] = []
    validate = run.evaluator.validate

    def watched(model: nn.Module, most: int = 0, *, mirrored: bool = False) -> object:
        scored.append(most)
        return validate(model, most, mirrored=mirrored)

    run.evaluator.validate = watched  # type: ignore[method-assign, assignment]
    epochs = list(run.epochs())
    if patience:
        assert scored[:3] == [100, 100, 0]
        assert len(epochs) < 4 or scored[-1] == 0
    else:
        assert scored == [100, 100, 100, 0]
    first = few.validation.subset(torch.arange(100))
    for metrics, images in ((epochs[0], first), (epochs[-1], few.validation)):
        hits = logits_of(run.averaged_model, images, few).argmax(1) == images.labels
        assert metrics.val_accuracy == pytest.approx(hits.float().mean().item(), abs=0.02)
