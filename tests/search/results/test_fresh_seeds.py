"""Evidence from fresh seeds, by real training on a small part of the real images."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import yaml

import search.__main__ as search_main
from fmnist_models.config.files import ExportedConfig, read_config
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.download import find_data
from fmnist_models.errors import ConfigError
from search.results.export import export
from search.results.fresh_seeds import FIRST_SEED, top_trials
from search.results.rerun_store import _Kept, _read
from search.schedulers.rules import make_scheduler
from search.settings import make_settings
from search.signals import StopRequest
from search.time_budget import Budget
from search.trials.session import SearchSession
from search.trials.study import enqueue_points, open_study, start_launch
from spaces import SpaceContext, get_space
from storage import open_database
from tests.conftest import Refused
from tests.search.loop import ENVIRONMENT, LIMITS, Listener, metrics

STUDY = "made-up"


@pytest.fixture
def searched(folder: Path, small_data: Path) -> str:
    """Give the URL of a database with a study of four one-epoch trials on the small data set."""
    url = f"sqlite:///{folder}/made.db"
    identity = {
        "space": "quick",
        "space_version": 1,
        "epochs": 1,
        "data_digest": find_data(small_data).digest,
        "train_samples": 1000,
    }
    with open_database(url) as database:
        settings = make_settings(space="quick", trials=4, study=STUDY, scheduler="fifo")
        store = open_study(database, settings, identity)
        context = SpaceContext(1, affordable=lambda model: False)  # the smallest networks
        enqueue_points(store, get_space("quick"), context)
        launch = start_launch(store, settings, ENVIRONMENT)
        rules = make_scheduler("fifo", grace_period=1, reduction_factor=3, epochs=1)
        session = SearchSession(
            store=store,
            launch_id=launch,
            space=get_space("quick"),
            context=context,
            scheduler=rules,
            trials=4,
            limits=LIMITS,
            observer=Listener(),
            stop=StopRequest(Budget()),
            check_space=lambda: None,
        )
        for accuracy in (0.7, 0.9, 0.8, 0.6):
            session.report(session.next_trial().number, metrics(1, accuracy))
        session.close("done")
    return url


def arguments(url: str, small_data: Path, out: str, *more: str) -> list[str]:
    common = ["--study", STUDY, "--storage", url, "--data-dir", str(small_data)]
    return ["export", *common, "--out", out, *more]


def test_the_best_are_trained_again_and_compared(
    searched: str, small_data: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = arguments(searched, small_data, "best.json", "--top", "2", "--seeds", "2")
    assert search_main.main(command) == 0
    out, err = capsys.readouterr()
    assert "corrected for being the best of 2" in out
    assert err.count("seed 1 of 2") == 2
    content = json.loads((folder / "best.json").read_text())
    fresh = content["evidence"]["fresh_seeds"]
    first, second = fresh["candidates"]
    assert {first["trial"], second["trial"]} == {1, 2}
    assert first["mean"] >= second["mean"]
    assert content["trial"] == first["trial"]
    assert content["validation_accuracy"] == first["mean"]
    assert fresh["seeds"] == [FIRST_SEED, FIRST_SEED + 1]
    assert first["p"] is None
    assert 0 <= second["p"] <= second["p_holm"] <= 1
    low, high = fresh["corrected_interval"]
    assert low <= fresh["corrected_accuracy"] <= high
    assert 390 <= fresh["validation_images"] <= 410, "a sixth, class by class"
    assert fresh["train_images"] == 1000
    assert content["evidence"]["digests"]["data"] == find_data(small_data).digest
    assert len(content["evidence"]["digests"]["code"]) == 64
    assert sorted(p.name for p in folder.iterdir()) == ["best.json", "made.db"]
    assert read_config(folder / "best.json").epochs == 1


def test_a_broken_off_comparison_goes_on(
    searched: str,
    small_data: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import fmnist_models.training.rerun as rerun_module

    real, trained = rerun_module.rerun, []

    def dies_at_the_third(config: TrialConfig, *rest: object, **options: object) -> object:
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(config.seed)
        return real(config, *rest, **options)

    monkeypatch.setattr(rerun_module, "rerun", dies_at_the_third)
    command = arguments(searched, small_data, "best.json", "--top", "2", "--seeds", "2")
    assert search_main.main(command) == 130
    assert not (folder / "best.json").exists()
    monkeypatch.setattr(
        rerun_module, "rerun", lambda *a, **k: (trained.append(0), real(*a, **k))[1]
    )
    assert search_main.main(command) == 0
    assert len(trained) == 4, "the two runs that were done are not repeated"
    capsys.readouterr()


def test_runs_of_other_code_and_damaged_files_are_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "runs"
    path.write_text(_Kept(made_with={"code": "a"}, runs={"c": ([True], 1.5)}).model_dump_json())
    assert _read(path, {"code": "a"}).runs == {"c": ([True], 1.5)}
    assert _read(path, {"code": "b"}).runs == {}
    for damaged in ("{", "[]", '{"made_with": {"code": "a"}, "runs": {"c": 1}}'):
        path.write_text(damaged)
        assert _read(path, {"code": "a"}).runs == {}


def test_equal_configurations_count_once(searched: str) -> None:
    with open_database(searched) as database:
        study = database.open_study(STUDY)
        assert [number for number, _, _ in top_trials(study, 3)] == [1, 2, 0]
        record = study.trial_record(1)
        study.add_trial(2, record.launch_id, {**record.config, "seed": 99})
        assert [number for number, _, _ in top_trials(study, 3)] == [1, 0, 3]


def test_mistakes_are_refused_before_anything_is_trained(
    searched: str, small_data: Path, refused: Refused, folder: Path
) -> None:
    main = search_main.main
    refused(main, arguments(searched, small_data, "b.json", "--top", "3"), "--top 3", "--seeds")
    refused(main, arguments(searched, small_data, "b.json", "--top", "0"), "--top", "'0'")
    refused(main, arguments(searched, small_data, "b.json", "--seeds", "-1"), "--seeds")
    refused(main, arguments(searched, small_data, "b.json", "--format", "xml"), "'xml'", "yaml")
    other = ["export", "--study", STUDY, "--storage", searched, "--out", "b.json", "--seeds", "1"]
    refused(main, other, "another data set", "--data-dir")
    (folder / "b.json").write_text("mine")
    refused(main, arguments(searched, small_data, "b.json", "--seeds", "1"), "no export of ours")


@pytest.mark.parametrize("name", ["best.json", "best.yaml", "best.yml", "best.py"])
def test_every_format_holds_the_same(searched: str, folder: Path, name: str) -> None:
    command = ["export", "--study", STUDY, "--storage", searched, "--out"]
    assert search_main.main([*command, "whole.json"]) == 0
    assert search_main.main([*command, name]) == 0
    wanted = ExportedConfig.model_validate_json((folder / "whole.json").read_text())
    path = folder / name
    if name.endswith(".py"):
        made = runpy.run_path(str(path))
        assert made["export"] == wanted
        assert sum(p.numel() for p in made["model"].parameters()) > 1000
        with pytest.raises(ConfigError, match="is a program"):
            read_config(path)
    else:
        assert read_config(path) == wanted.config
        content = yaml.safe_load(path.read_text())
        assert ExportedConfig.model_validate_json(json.dumps(content)) == wanted
    assert search_main.main([*command, name]) == 0, "an export of ours is overwritten unasked"


def test_the_plain_best_says_what_being_the_best_of_many_is_worth(
    searched: str, folder: Path
) -> None:
    with open_database(searched) as database:
        export(database.open_study(STUDY), folder / "best.json")
    evidence = json.loads((folder / "best.json").read_text())["evidence"]
    (low, high), (wide_low, wide_high) = evidence["interval"], evidence["corrected_interval"]
    assert wide_low < low < high < wide_high
    assert (evidence["corrected_for"], evidence["best_trial"]) == (4, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [1]\nb: *a\n", "aliases"),
        ("a: [1\n", "is not YAML"),
        ("!!python/object/apply:os.system [true]\n", "is not YAML"),
        ("a: .nan\n", "is not YAML"),
        ("a: 2026-11-22\n", "is not YAML"),
        ("1\n", "the whole"),
    ],
)
def test_yaml_that_is_no_configuration(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        read_config(tmp_path / "c.yaml")
    assert "\n" not in str(caught.value)
