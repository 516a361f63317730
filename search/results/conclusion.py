"""The end of a launch: the best configuration exported, the summary, and what to type next."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from fmnist_models.output import command_line
from search.quantities import duration
from search.results.export import export_beside
from search.results.summary import Summary, summarize, summary_lines
from search.settings import storage_default
from storage import StudyStore, mask_url


def conclude(store: StudyStore, *, storage: str, seconds: float, as_json: bool) -> Summary:
    """Export the best configuration and print the summary; `seconds` is what the launch took."""
    summary = summarize(store)
    path, lines = None, [*summary_lines(summary), f"Took {duration(seconds)}."]
    if summary.best:
        path, refused = export_beside(store, summary)
        lines.append(f"Exported: {path}" if path else f"Not exported: {refused}")
    print("\n".join([*lines, *_next_commands(store.name, storage, path)]))
    if as_json:
        exported = {"exported": str(path) if path else None, "seconds": seconds}
        print(json.dumps({**summary.model_dump(mode="json"), **exported}))
    sys.stdout.flush()
    return summary


def _next_commands(study_name: str, storage: str, exported: Path | None) -> list[str]:
    """What to type next, as it can be pasted."""
    option = [] if storage == storage_default(os.environ) else ["--storage", mask_url(storage)]
    lines = [f"Look: {command_line('search', 'dashboard', *option)}"]
    if exported:
        out = Path("models", study_name)
        train = command_line("fmnist_models", "train", exported, "--out", out)
        lines.insert(0, f"Next: {train}")
    return lines
