"""One trial in a worker's process: its trainer, its epochs so far and its checkpoints."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from fmnist_models.compute.allocator import keep_memory
from fmnist_models.compute.memory import is_out_of_memory, keep_under
from fmnist_models.compute.precision import Precision, set_threads
from fmnist_models.config.trial import TrialConfig
from fmnist_models.data.dataset import Dataset, load_search_data
from fmnist_models.data.idx import read_data_files
from fmnist_models.errors import OutputError, message_of
from fmnist_models.training.metrics import EpochMetrics
from fmnist_models.training.trainer import Trainer
from search.workers.checkpoints import CheckpointStore, State
from search.workers.messages import EpochDone, Resumed, StartedTrial, WorkerSettings


class TrialRun:
    """One trial in this process: its trainer, its epochs so far and its checkpoints."""

    def __init__(
        self, settings: WorkerSettings, trial: StartedTrial, dataset: Dataset | None = None
    ) -> None:
        self._settings, self._trial = settings, trial
        keep_memory(settings.device)
        set_threads(settings.threads)
        self._dataset = dataset or _load(settings.data_dir, settings.train_samples)
        folder = settings.checkpoint_dir
        self._store = CheckpointStore(Path(folder)) if folder else None
        self._mark = mark_of(trial.config, self._dataset)
        self._notes: dict[str, str] = {}
        self._epochs: list[EpochMetrics] = []
        state = self._store.load(trial.resume_from, self._mark) if self._store else None
        self._to_report = state is not None and self._resume(state)
        if not self._to_report:
            self._trainer = self._build(settings.precision)

    def _build(self, precision: Precision) -> Trainer:
        settings, trial = self._settings, self._trial
        trainer = Trainer(
            trial.config,
            self._dataset,
            device=settings.device,
            precision=precision,
            micro_batches=trial.micro_batches,
        )
        if settings.memory_limit_bytes is not None:
            networks = {trainer.model, trainer.averaged_model}
            keep_under(settings.memory_limit_bytes, networks, settings.device)
        return trainer

    def _resume(self, state: State) -> bool:
        """Go on from a checkpoint, in its number format; False when it does not fit in here."""
        try:
            epochs = [EpochMetrics.model_validate(metrics) for metrics in state["epochs"]]
            self._trainer = self._build(state["precision"])
            self._trainer.load_state_dict(state["trainer"])
        except Exception as error:  # written by another version
            if is_out_of_memory(error):
                raise
            self._note("resume", f"its checkpoint does not fit ({first_line(error)}): started anew")
            return False
        self._epochs = epochs
        return bool(epochs)

    def step(self) -> EpochDone | Resumed:
        """Report the epochs of the checkpoint if there was one, else train one and save it."""
        if self._to_report:
            self._to_report = False
            return Resumed(epochs=self._epochs, note=self._untold_notes())
        metrics = self._trainer.run_epoch()
        self._epochs.append(metrics)
        graphs = self._trainer.step.graphs
        if graphs and graphs.failure:
            self._note("graphs", f"it trains without CUDA graphs: {graphs.failure}")
        self._save()
        return EpochDone(metrics=metrics, note=self._untold_notes())

    def _save(self) -> None:
        """Save a checkpoint; a trial that cannot (a full disk) goes on without, and says so."""
        if self._store is None:
            return
        state = {
            "precision": self._trainer.precision,
            "epochs": [metrics.model_dump() for metrics in self._epochs],
            "trainer": self._trainer.state_dict(),
        }
        try:
            self._store.save(self._trial.number, state, self._mark)
        except OutputError as error:
            self._note("save", f"it goes on without a checkpoint: {error}")

    def _note(self, kind: str, text: str) -> None:
        """Have `text` told with the next message, the first time that there is one of its kind."""
        self._notes.setdefault(kind, text)

    def _untold_notes(self) -> str:
        untold = [text for text in self._notes.values() if text]
        self._notes = dict.fromkeys(self._notes, "")
        return "; ".join(untold)


@lru_cache(maxsize=1)
def _load(data_dir: str, train_samples: int | None) -> Dataset:
    """The data set, once a process."""
    return load_search_data(read_data_files(Path(data_dir)), train_samples)


def mark_of(config: TrialConfig, dataset: Dataset) -> str:
    """What a checkpoint must have been made of to be gone on from: configuration and images."""
    about = {
        "config": config.model_dump(mode="json"),
        "data": dataset.digest,
        "images": len(dataset.train),
    }
    return json.dumps(about, sort_keys=True)


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (message_of(error).strip().splitlines() or ["no message"])[0]
