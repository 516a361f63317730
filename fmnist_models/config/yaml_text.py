"""Configurations as YAML: the same values as the JSON, for those who edit them by hand."""

from __future__ import annotations

import json
from typing import Any

import yaml
from pydantic import JsonValue
from yaml.nodes import Node

from fmnist_models.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Plain values only, and no aliases: a few lines of those can stand for gigabytes."""

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases, which a configuration never needs")
        node: Node | None = super().compose_node(parent, index)
        return node


def to_yaml(content: JsonValue, comment: str) -> str:
    """`content` as YAML in its order, under a line of `comment`."""
    return f"# {comment}\n" + yaml.safe_dump(content, sort_keys=False, width=100)


def yaml_to_json(text: str, source: str) -> str:
    """The YAML in `text` as JSON; raises ConfigError, in one line, when it is not acceptable."""
    try:
        return json.dumps(yaml.load(text, _Loader), allow_nan=False)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{source} is not YAML ({reason}); export it again") from None
