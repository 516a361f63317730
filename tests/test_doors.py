"""The table of doors names a test for each, and that test is there."""

from __future__ import annotations

import ast
import re

from tests.conftest import ROOT

DOORS = ROOT / "benchmarks" / "robustness" / "doors.md"
ROW = re.compile(r"^\| (?P<door>[^|]+) \| [^|]+ \| [^|]+ \| `(?P<test>[^`|]+)` \|$")


def test_each_door_has_a_test() -> None:
    doors = DOORS.read_text().partition("\n### ")[0]
    rows = [line for line in doors.splitlines() if line.startswith("|")][2:]
    found = [ROW.match(row) for row in rows]
    assert [row for row, match in zip(rows, found, strict=True) if match is None] == []
    assert len(rows) >= 40
    missing = []
    for match in found:
        path, _, name = match["test"].partition("::") if match else ("", "", "")
        names = {n.name for n in ast.walk(ast.parse((ROOT / path).read_text()))
                 if isinstance(n, ast.FunctionDef)}  # fmt: skip
        if name not in names:
            missing.append(f"{path}::{name}")
    assert missing == []


def test_the_table_of_faults_has_them() -> None:
    assert (ROOT / "results" / "faults.md").read_text().endswith(DOORS.read_text())
