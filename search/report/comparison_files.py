"""A comparison as a page, as Markdown, as LaTeX, or as a CSV file of plain numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from fmnist_models.report.charts import BLUE, ORANGE, SOFT, STYLE, svg
from fmnist_models.report.html import render
from search.quantities import duration, percent
from search.report.comparison import AXES, Axis, Comparison, Standing
from search.report.figures import as_percent, time_unit
from search.report.findings import in_words

COLOURS = (BLUE, ORANGE, SOFT, "#3c8d5a", "#8a5fb0", "#b08a2e", "#c2477f", "#2f9aa0")
HEADER = ("at", "search", "studies", "accuracy", "95 % interval", "lead", "p", "p (Holm)", "test")
NOTE = (
    "Accuracy: the best validation accuracy of a trial that had run to its end, the mean over an "
    "arm's studies; interval: Wilson's for the model of one study, Student's for the mean of "
    "several; lead: over the first arm, in points; p: two-sided, of equal accuracy (paired t over "
    "seeds; Welch's t; for one study the same validation images with an allowance for the seed), "
    "and adjusted for several arms (Holm 1979). Being the best of many trials flatters all alike."
)


@dataclass(frozen=True)
class _Table:
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def _title(comparison: Comparison) -> str:
    return " and ".join(arm.label for arm in comparison.arms) + " compared"


def verdicts(comparison: Comparison) -> list[str]:
    """A sentence for each axis, of where all studies have got to."""
    said = []
    for axis in AXES:
        of_axis = [one for one in comparison.standings if one.axis == axis]
        last = [one for one in of_axis if one.budget == of_axis[-1].budget]
        ranked = sorted((one for one in last if one.accuracy), key=lambda one: -(one.accuracy or 0))
        at = f"After {_at(last[0])}{' of training' if axis == 'seconds' else ''} each"
        if not ranked:
            said.append(f"{at}, no search had a trial at its end.")
            continue
        others = [
            f"{one.arm} at {percent(one.accuracy)}{_with_p(one)}"
            for one in last
            if one is not ranked[0]
        ]
        best = f"{ranked[0].arm} is best with {percent(ranked[0].accuracy)}{_with_p(ranked[0])}"
        said.append(f"{at}, {best}; {'; '.join(others)}.")
    return said


def _with_p(one: Standing) -> str:
    if one.p_holm is None:
        return ""
    return f" (p {'' if one.p_holm < 0.001 else '= '}{_p(one.p_holm)} against the first)"


def _p(p: float | None) -> str:
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _at(one: Standing) -> str:
    return f"{one.budget:,.0f} epochs" if one.axis == "epochs" else duration(one.budget)


def _row(one: Standing) -> tuple[str, ...]:
    interval = " to ".join(map(percent, one.interval)) if one.interval else "-"
    lead = "-" if one.lead is None else f"{100 * one.lead:+.2f}"
    accuracy, p_values = percent(one.accuracy), (_p(one.p), _p(one.p_holm))
    return (
        _at(one),
        one.arm,
        str(one.studies),
        accuracy,
        interval,
        lead,
        *p_values,
        one.test or "-",
    )


def _tables(comparison: Comparison) -> list[_Table]:
    tables = [
        _Table(
            f"At equal {axis}",
            HEADER,
            [_row(one) for one in comparison.standings if one.axis == axis],
        )
        for axis in AXES
    ]
    labels = [arm.label for arm in comparison.arms]
    differences = _Table("Settings that differ", ("setting", *labels), comparison.differences)
    return [*tables, differences] if comparison.differences else tables


def progress_figure(comparison: Comparison, axis: Axis) -> Figure:
    """The best value so far of each study, over epochs or seconds; an arm has one colour."""
    with rc_context(STYLE):
        figure = Figure(figsize=(5.4, 3.4), layout="constrained")
        axes = figure.subplots()
        total = max(getattr(one, axis)[-1] for arm in comparison.arms for one in arm.progress)
        unit, name = (1.0, "epochs") if axis == "epochs" else time_unit(total)
        for place, arm in enumerate(comparison.arms):
            colour = COLOURS[place % len(COLOURS)]
            for i, one in enumerate(arm.progress):
                best = np.array(one.best)
                best[~np.isfinite(best)] = np.nan
                x = np.array(getattr(one, axis)) / unit
                label = "_" if i else in_words(arm.label)
                axes.step(x, best, where="post", color=colour, linewidth=1.8, label=label)
        axes.set(xlabel=f"{name} of training, all trials together", ylabel="best so far")
        as_percent(axes.yaxis)
        axes.grid(True, axis="y")
        axes.legend(loc="lower right", fontsize=9)
    return figure


def _html(comparison: Comparison) -> str:
    captions = {axis: f"The best validation accuracy so far over {axis}." for axis in AXES}
    return render(
        "comparison.html",
        package="search",
        title=_title(comparison),
        verdicts=verdicts(comparison),
        note=NOTE,
        figures=[
            (svg(progress_figure(comparison, axis), axis, caption), caption)
            for axis, caption in captions.items()
        ],
        tables=_tables(comparison),
    )


def _markdown(comparison: Comparison) -> str:
    parts = [f"# {_plain(_title(comparison))}", *map(_plain, verdicts(comparison)), NOTE]
    for table in _tables(comparison):
        lines = [table.header, ["---"] * len(table.header), *table.rows]
        rows = ("| " + " | ".join(map(_plain, line)) + " |" for line in lines)
        parts += [f"## {table.title}", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """What may come from a database as one line of Markdown that is only text."""
    for character in "\\`*_[]<>#|":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _latex(comparison: Comparison) -> str:
    parts = [f"% {' '.join(_title(comparison).split())}"]
    for table in _tables(comparison):
        lines = [" & ".join(map(_tex, row)) + r" \\" for row in table.rows]
        head = " & ".join(map(_tex, table.header)) + r" \\"
        parts += [
            r"\begin{table}",
            rf"\caption{{{_tex(table.title)}}}",
            rf"\begin{{tabular}}{{{'l' * len(table.header)}}}",
            *(r"\hline", head, r"\hline", *lines, r"\hline"),
            r"\end{tabular}",
            r"\end{table}",
        ]
    return (
        "\n".join([*parts, *(f"% {sentence}" for sentence in (*verdicts(comparison), NOTE))]) + "\n"
    )


_TEX = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in " ".join(text.split()))


def _csv(comparison: Comparison) -> str:
    """A row a standing: numbers as they are, fractions and seconds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(Standing)]
    place = names.index("interval")
    writer.writerow([*names[:place], "low", "high", *names[place + 1 :]])
    for one in comparison.standings:
        values = list(astuple(one))
        values[place : place + 1] = one.interval or (None, None)
        writer.writerow(values)
    return text.getvalue()


FORMATS: dict[str, Callable[[Comparison], str]] = {
    ".html": _html,
    ".md": _markdown,
    ".csv": _csv,
    ".tex": _latex,
}
"""What makes the contents of a file, by its ending."""
