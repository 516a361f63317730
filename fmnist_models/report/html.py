"""Pages of one file each, from templates that share one frame and its light and dark styles."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def render(template: str, package: str = "fmnist_models", **values: object) -> str:
    """The page that the template of that name in `package`/templates makes of `values`.

    What is in `values` is text: markup in it is escaped, unless it is `markupsafe.Markup`.
    """
    loaders = [PackageLoader(name) for name in dict.fromkeys((package, "fmnist_models"))]
    environment = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(values)
