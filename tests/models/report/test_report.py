"""What `evaluate` leaves behind: figures, card, page, pictures."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt
from PIL import Image

from fmnist_models.__main__ import main
from fmnist_models.config.files import Origin
from fmnist_models.config.optimizers import SgdConfig
from fmnist_models.config.trial import TrialConfig
from fmnist_models.families.quick import QuickConfig
from fmnist_models.report.model_card import card_text, facts_of
from fmnist_models.saved_model.ensemble import EnsembleConfig
from fmnist_models.saved_model.folder import Header, ModelMetrics, load_metrics, save_metrics
from fmnist_models.training.metrics import wilson_interval
from tests.conftest import Refused

PICTURES = {
    "confusion-matrix.png",
    "lookalikes.png",
    "worst-mistakes.png",
    "reliability.png",
    "saliency.png",
    "learning-curves.png",
}


@pytest.fixture(scope="module")
def evaluated(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, of a strange name, that was evaluated from the shell."""
    folder = tmp_path_factory.mktemp("evaluated") / "<b>&amp; models"
    shutil.copytree(trained, folder)
    origin = Origin(study="<i>found", trial=3, validation_accuracy=0.5)
    save_metrics(folder, load_metrics(folder).model_copy(update={"origin": origin}))
    assert main(["evaluate", str(folder)]) == 0
    return folder


def test_a_reading_is_recorded_in_full(evaluated: Path) -> None:
    (reading,) = load_metrics(evaluated).test_readings
    details = reading.details
    assert details is not None
    assert reading.images == 10_000
    assert reading.correct == sum(row[i] for i, row in enumerate(details.confusion))
    assert reading.interval == wilson_interval(reading.correct, reading.images)
    assert [score.images for score in details.classes] == [1000] * 10
    assert sum(one.images for one in details.bins) == 10_000
    assert 0.7 < reading.accuracy < 0.95
    assert details.classes[6].name == "Shirt"


def test_the_folder_has_card_page_and_pictures(evaluated: Path) -> None:
    assert {path.name for path in evaluated.iterdir()} == {
        *("model.safetensors", "config.json", "metrics.json"),
        *("README.md", "report.html", "pictures"),
    }
    assert {path.name for path in (evaluated / "pictures").iterdir()} == PICTURES
    for path in (evaluated / "pictures").iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 400
            assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 8, "it is blank"


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.images += tag == "img"
        self.found += [v for k, v in attrs if k in ("src", "href", "srcset", "action") and v]
        assert tag not in ("script", "link", "iframe", "object", "base")


def test_the_page_needs_nothing_from_anywhere(evaluated: Path) -> None:
    text = (evaluated / "report.html").read_text(encoding="utf-8")
    links = _Links()
    links.feed(text)
    assert links.images == len(PICTURES)
    assert all(link.startswith("data:image/png;base64,") for link in links.found)
    assert not re.search(r"url\(|@import", text)
    assert "test accuracy, 95 % interval" in text


def test_the_card_says_what_the_metrics_say(evaluated: Path) -> None:
    text = (evaluated / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    fields = yaml.safe_load(head)
    metrics = load_metrics(evaluated)
    (result,) = fields["model-index"][0]["results"]
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values["accuracy"] == metrics.test_accuracy
    assert fields["pipeline_tag"] == "image-classification"
    assert f"{100 * metrics.test_accuracy:.2f} %" in body
    for part in ("## Use", "## How good it is", "## Where it fails", "Shirt", "read once"):
        assert part in body
    assert "load_model" in body


def test_page_and_card_name_the_search_and_have_a_dark_scheme(evaluated: Path) -> None:
    page = (evaluated / "report.html").read_text(encoding="utf-8")
    assert "search &lt;i&gt;found, trial 3, 50.00 % validation accuracy" in page
    assert "found, trial 3, 50.00 %" in (evaluated / "README.md").read_text()
    assert "prefers-color-scheme: dark" in page
    assert page.count('class="chart"') == 3, "of images no picture is reversed"


def test_a_second_reading_is_counted_and_printed(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["evaluate", str(model), "--no-report"]) == 0
    said = capsys.readouterr().out
    assert "read 2 times" in said
    for word in ("precision", "false-positive rate", "Ankle boot", "true \\ predicted", "bins"):
        assert word in said
    assert main(["evaluate", str(model), "--no-report", "--json"]) == 0
    reading = json.loads(capsys.readouterr().out)
    assert reading["readings"] == 3
    assert len(reading["details"]["classes"]) == 10
    assert not (model / "report.html").exists()


def test_a_name_with_markup_is_only_text(evaluated: Path) -> None:
    page = (evaluated / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;amp; models" in page
    assert "<b>&amp;" not in page


def test_another_data_set_is_refused(model: Path, small_data: Path, refused: Refused) -> None:
    refused(main, ["evaluate", str(model), "--data-dir", str(small_data)], "another data set")


HOSTILE = (
    "<script>alert(1)</script>",
    "x\n# A heading",
    "x\n---\nlicense: mine\n---\n",
    "[a](http://b) ![c](d) `e` **f** _g_ ~~h~~ <i> &lt; a_b | i",
    "| a | b |\n| --- | --- |",
    "\x1b[31m \u202e",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_only_text_in_the_card(name: str) -> None:
    config = TrialConfig(
        model=QuickConfig(width=4, depth=1), optimizer=SgdConfig(lr=0.1), batch_size=64, epochs=1
    )
    metrics = ModelMetrics(
        train_images=1,
        train_seconds=1.0,
        data="idx",
        data_digest="d",
        environment={"device_name": name, name: "x"},
        epochs=[],
        teacher={"source": name},
    )

    def html_of(text: str) -> str:
        _, head, body = text.split("---\n", 2)
        assert yaml.safe_load(head)["library_name"] == "fmnist-search"
        assert yaml.safe_load(head).keys() == {"library_name", "pipeline_tag", "tags", "metrics"}
        return MarkdownIt("commonmark", {"html": True}).enable("table").render(body)

    def structure(html: str) -> list[str]:
        return re.findall(r"<[^>]*>", html)

    ensemble = EnsembleConfig(members=(config,), chosen="unread", sources=(name,))
    for one in (config, ensemble):
        plain, marked = (
            html_of(card_text(facts_of(called, kind, Header(10, 0.5, 0.5, "d"), about)))
            for called, kind, about in (
                ("x", one, with_name(metrics, "x")),
                (name, one, metrics),
            )
        )
        if isinstance(one, TrialConfig):
            assert structure(marked) == structure(plain)
        assert "<script" not in marked and "<i>" not in marked
        assert marked.count("<h1>") == 1 and "\x1b" not in marked


def with_name(metrics: ModelMetrics, name: str) -> ModelMetrics:
    """The same with `name` in the place of the hostile one."""
    return metrics.model_copy(
        update={"environment": {"device_name": name, name: "x"}, "teacher": {"source": name}}
    )
