"""The facts about a model, and the model card made of them (Mitchell et al., arXiv:1810.03993).

The card has the form of the Hugging Face Hub: a YAML head with a `model-index`, then Markdown.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from fmnist_models.config.base import Config
from fmnist_models.config.training import LrScheduleConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.class_names import class_names, is_fashion_mnist
from fmnist_models.output import printable
from fmnist_models.saved_model.ensemble import CHOSEN, EnsembleConfig
from fmnist_models.saved_model.folder import AnyConfig, Header, ModelMetrics, TestReading
from fmnist_models.saved_model.scores import CLASS_COLUMNS, TestDetails, confusions
from fmnist_models.training.cost import model_cost

Row = tuple[str, str]
_MARKUP = re.compile(r"[\\`*\[\]|~#$]|(?<!\w)_|_(?!\w)")


@dataclass(frozen=True)
class Facts:
    """What the card and the page both say. `training` and `machine`: names with values."""

    name: str
    what: str
    data: str
    is_fashion: bool
    names: Sequence[str]
    train_images: int
    training: Sequence[Row]
    machine: Sequence[Row]
    reading: TestReading | None
    readings: int
    ensemble: EnsembleConfig | None

    @property
    def details(self) -> TestDetails | None:
        """The last reading in full, where there is one."""
        return self.reading.details if self.reading else None

    @property
    def score(self) -> str:
        """The test accuracy with its interval, in words."""
        if self.reading is None:
            return "not scored on the test set yet"
        low, high = (100 * bound for bound in self.reading.interval)
        return (
            f"{100 * self.reading.accuracy:.2f} % test accuracy "
            f"(95 % interval {low:.2f} % to {high:.2f} %)"
        )

    @property
    def weak(self) -> list[str]:
        """Where it fails, a sentence each."""
        if self.details is None:
            return []
        worst = min(self.details.classes, key=lambda score: score.f1)
        pairs = confusions(self.details, 3)
        said = [f"Weakest class: {worst.name}, F1 {worst.f1:.3f}."]
        if pairs:
            listed = "; ".join(f"{a} taken for {b} ({n} images)" for a, b, n in pairs)
            said.append(f"Most frequent confusions: {listed}.")
        return said


def facts_of(name: str, config: AnyConfig, header: Header, metrics: ModelMetrics) -> Facts:
    """The facts about the model of a folder called `name`."""
    return Facts(
        name=" ".join(printable(name).split()),
        what=_what(config, header),
        data="Fashion-MNIST" if is_fashion_mnist(header.digest) else "another 28x28 data set",
        is_fashion=is_fashion_mnist(header.digest),
        names=class_names(header.digest, header.classes),
        train_images=metrics.train_images,
        training=_training(config, metrics),
        machine=[(key.replace("_", " "), str(v)) for key, v in metrics.environment.items()],
        reading=metrics.test_readings[-1] if metrics.test_readings else None,
        readings=len(metrics.test_readings),
        ensemble=config if isinstance(config, EnsembleConfig) else None,
    )


def _what(config: AnyConfig, header: Header) -> str:
    if isinstance(config, EnsembleConfig):
        families = sorted({member.model.family for member in config.members})
        members = f"{len(config.members)} networks ({', '.join(families)})"
        views = f", {config.views.count} views of each image" if config.views.count > 1 else ""
        return f"An ensemble: the mean of the probabilities of {members}{views}"
    cost = model_cost(config.model, header.classes)
    looks = 2 if header.mirrored else 1
    mirrored = ", which is looked at together with its mirror image" if header.mirrored else ""
    return (
        f"A network of the family {config.model.family} with {cost.parameters:,} parameters, "
        f"{2 * looks * cost.macs / 1e6:,.1f} MFLOP an image{mirrored}"
    )


def _training(config: AnyConfig, metrics: ModelMetrics) -> list[Row]:
    minutes = ("time", f"{metrics.train_seconds / 60:.1f} minutes")
    found = [("configuration found by", str(metrics.origin))] if metrics.origin else []
    if isinstance(config, EnsembleConfig):
        chosen = ("members chosen", CHOSEN[config.chosen])
        views = f"flip {'on' if config.views.flip else 'off'}, shift {config.views.shift} pixels"
        folders = ("made from", ", ".join(config.sources))
        return [*found, folders, chosen, ("test-time augmentation", views), minutes]
    rows = [
        *found,
        ("network", _said(config.model)),
        ("optimizer", _said(config.optimizer)),
        ("learning-rate schedule", _scheduled(config.lr_schedule)),
        ("augmentation", _changed(config.augmentation)),
        ("regularization", _changed(config.regularization)),
        ("loss", _said(config.loss)),
        ("batch size", str(config.batch_size)),
        ("epochs", f"{config.epochs}{_of_images(config)}, weights of the last one"),
        ("seed", str(config.seed)),
    ]
    workers = metrics.environment.get("workers", 1)
    if workers != 1:
        parts = f"{workers} workers, each of which normalises its part of a batch by itself"
        rows.append(("trained by", parts))
    if metrics.teacher:
        rows.append(("distilled from", str(metrics.teacher.get("source", "an ensemble"))))
    return [*rows, minutes]


def _said(part: Config) -> str:
    """All fields of a part of a configuration, what it is first."""
    fields = part.model_dump()
    kind = [str(fields.pop(name)) for name in ("family", "kind") if name in fields]
    return ", ".join([*kind, *(f"{name} {_value(value)}" for name, value in fields.items())])


def _changed(part: Config) -> str:
    """The fields of a part that are not at their defaults, or "none"."""
    fields = type(part).model_fields
    on = {k: v for k, v in part.model_dump().items() if k != "kind" and v != fields[k].default}
    return ", ".join(f"{name} {_value(value)}" for name, value in on.items()) or "none"


def _scheduled(schedule: LrScheduleConfig) -> str:
    """The schedule's kind, and what is not as usual."""
    changed = _changed(schedule)
    return schedule.kind if changed == "none" else f"{schedule.kind}, {changed}"


def _of_images(config: TrialConfig) -> str:
    """Where an epoch is not all images once, of how many images it is."""
    return f" of {config.epoch_images:,} images" if config.epoch_images else ""


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def card_text(facts: Facts) -> str:
    """The model card: YAML head and Markdown."""
    head = yaml.safe_dump(_head(facts), sort_keys=False, allow_unicode=True)
    parts = [
        f"# {_plain(facts.name)}",
        f"{facts.what}, for the {len(facts.names)} classes of {facts.data}: {facts.score}.",
        "## Use",
        _USE,
        "## How good it is",
        *_how_good(facts),
        "## Where it fails",
        *(facts.weak or ["Not known yet: it has not been scored."]),
        *([_PICTURES] if facts.details else []),
        _LIMITS_FASHION if facts.is_fashion else _LIMITS,
        "## How it was trained",
        f"On {facts.train_images:,} training images of {facts.data}, a fixed number of epochs; "
        "nothing was chosen by the test set.",
        _table(("setting", "value"), facts.training),
        "## Where",
        _table(("", ""), facts.machine),
        "## Files",
        _FILES,
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n"


def _head(facts: Facts) -> dict[str, Any]:
    """The metadata of the Hugging Face Hub, with `model-index` where there is a score."""
    head: dict[str, Any] = {
        "library_name": "fmnist-search",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "fashion-mnist" if facts.is_fashion else "idx"],
        "metrics": ["accuracy", "f1"],
    }
    if facts.is_fashion:
        head["datasets"] = ["zalando-datasets/fashion_mnist"]
    if facts.reading is None or facts.details is None:
        return head
    results = {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {
            "name": facts.data,
            "type": "fashion_mnist" if facts.is_fashion else "custom",
            "split": "test",
        },
        "metrics": [
            {"type": "accuracy", "value": round(facts.reading.accuracy, 6)},
            {"type": "f1", "name": "macro F1", "value": round(facts.details.macro_f1, 6)},
        ],
    }
    return {**head, "model-index": [{"name": facts.name, "results": [results]}]}


def _how_good(facts: Facts) -> list[str]:
    reading, details = facts.reading, facts.details
    if reading is None or details is None:
        return ["It has not been scored on the test set yet: `python -m fmnist_models evaluate`."]
    times = "once" if facts.readings == 1 else f"{facts.readings} times"
    return [
        f"{facts.score[0].upper()}{facts.score[1:]}: {reading.correct:,} of {reading.images:,} "
        f"images. The test set was read {times} with this model, each reading is in "
        "`metrics.json`; the interval is Wilson's.",
        f"Macro F1 {details.macro_f1:.4f}; cross-entropy {details.cross_entropy:.4f} nats; "
        f"expected calibration error {100 * details.calibration_error:.2f} points "
        f"({len(details.bins)} bins of equal width).",
        _table(CLASS_COLUMNS, (score.cells(",") for score in details.classes)),
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [[*map(_plain, line)] for line in [header, *rows]]
    lines.insert(1, ["---"] * len(header))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Text in Markdown that shows `text`, on one line, whatever markup is in it."""
    line = " ".join(printable(text).split())
    return html.escape(_MARKUP.sub(r"\\\g<0>", line), quote=False)


_USE = """```python
from fmnist_models import load_model
load_model("DIR").predict(["picture.jpg"])
```

with DIR this folder, or from a shell `python -m fmnist_models predict DIR picture.jpg`. Pictures
may have any size, colour or grey, dark on light or light on dark. Loading runs no code from the
folder."""
_PICTURES = """![All classes against all](pictures/confusion-matrix.png)

![The worst mistakes](pictures/worst-mistakes.png)"""
_LIMITS = "Any picture gets one of the classes, one that shows none of them too."
_LIMITS_FASHION = """The images of Fashion-MNIST are 28x28 pixels of single pieces of clothing from
one shop, in grey, without a background. On photographs of people, on anything with a background,
and on other kinds of clothing it will do worse than the figures above. Any picture gets one of the
ten classes."""
_FILES = """`model.safetensors` weights; `config.json` the configuration; `metrics.json` every epoch
and every reading of the test set; `report.html` and `pictures/` the report; `events/` curves for
TensorBoard."""
