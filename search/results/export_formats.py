"""An export as JSON, as YAML, or as a Python program that rebuilds the network.

All three hold the same: `fmnist_models.config.files.read_config` reads the first two, and the
program, when it is run, has the whole export as `export` and an untrained network as `model`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from pprint import pformat
from typing import Literal

from pydantic import BaseModel, JsonValue

from fmnist_models.config.files import EXPORT_FORMAT, ExportedConfig
from search.errors import UsageError

Format = Literal["json", "yaml", "python"]
FORMATS: tuple[Format, ...] = ("json", "yaml", "python")
_SUFFIXES: dict[str, Format] = {
    **{"": "json", ".json": "json"},
    **{".yaml": "yaml", ".yml": "yaml"},
    ".py": "python",
}
_MARK = f"# {EXPORT_FORMAT}"
"""First line of an export that is no JSON."""
_ALWAYS_IMPORTED = {"ExportedConfig", "build_network"}


def format_of(path: Path, wanted: str | None) -> Format:
    """The format to write: as `wanted`, else by the ending of `path`; raises UsageError."""
    if wanted is None and path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
    if wanted is None:
        raise UsageError(
            f"--out {path}: {path.suffix} is no ending of an export; use .json, .yaml or .py, or "
            "say what it is to hold by --format"
        )
    if wanted in FORMATS:
        return wanted
    raise UsageError(f"--format {wanted!r} is not known; choose from {', '.join(FORMATS)}")


def as_text(content: dict[str, JsonValue], form: Format) -> str:
    """An export, given as JSON values, in a format."""
    if form == "json":
        return json.dumps(content, indent=2) + "\n"
    if form == "yaml":
        from fmnist_models.config.yaml_text import to_yaml

        return to_yaml(content, EXPORT_FORMAT)
    return _python(ExportedConfig.model_validate_json(json.dumps(content)))


def is_export(path: Path) -> bool:
    """Whether the file is an export, in any of the formats."""
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith(f"{_MARK}\n"):
            return True
        content = json.loads(text)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == EXPORT_FORMAT


_PROGRAM = """\
{mark}
\"\"\"An export of fmnist-search: rebuilds the network of `config`, untrained.\"\"\"

from fmnist_models import (
{names}
)

config = {config}

evidence = {evidence}

export = ExportedConfig(
    config=config,
    study={export.study!r},
    trial={export.trial!r},
    validation_accuracy={export.validation_accuracy!r},
    evidence=evidence,
    final_seconds={export.final_seconds!r},
)
model = build_network(config, classes=10)
"""


def _python(export: ExportedConfig) -> str:
    """A program with the configuration written out."""
    classes = {type(part).__name__ for part in _parts(export.config)}
    return _PROGRAM.format(
        mark=_MARK,
        names="\n".join(f"    {name}," for name in sorted(classes | _ALWAYS_IMPORTED)),
        config=_literal(export.config, 0),
        evidence=pformat(export.evidence, width=96, sort_dicts=False),
        export=export,
    )


def _parts(config: BaseModel) -> Iterator[BaseModel]:
    """A configuration and all configurations within it."""
    yield config
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from _parts(value)


def _literal(value: object, depth: int) -> str:
    """An expression for a configuration, a field a line."""
    if not isinstance(value, BaseModel):
        return repr(value)
    inner = "    " * (depth + 1)
    fields = "".join(
        f"{inner}{name}={_literal(getattr(value, name), depth + 1)},\n"
        for name in type(value).model_fields
    )
    return f"{type(value).__name__}(\n{fields}{'    ' * depth})"
