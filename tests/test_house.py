"""The house rules, held by reading every file: who imports whom, size, docstrings."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Room: the rooms and the heavy libraries that it may import.
TABLE = {
    "fmnist_models": ({"fmnist_models"}, {"torch", "torchvision", "rich"}),
    "spaces": ({"spaces", "fmnist_models"}, {"optuna"}),
    "storage": ({"storage"}, {"sqlalchemy", "alembic", "optuna", "psycopg"}),
    "search": (
        {"search", "spaces", "fmnist_models", "storage"},
        {"ray", "optuna", "optuna_dashboard", "rich"},
    ),
    "run_search.py": ({"search", "fmnist_models"}, set()),
}
ROOMS = {"fmnist_models", "spaces", "storage", "search", "run_search", "tests", "benchmarks"}
HEAVY = set().union(*(heavy for _, heavy in TABLE.values()))

# Package of a room: the room's packages and files that it may import beside itself. Whoever is not
# named (`search/launch.py`, the two `__main__.py`) stands above all packages and may import any.
PACKAGES = {
    "search": {
        "cli": "display report results errors quantities settings",
        "display": "trials errors quantities time_budget",
        "backend": "trials planning workers errors quantities settings signals workspace",
        "report": "results trials schedulers workers errors quantities settings",
        "results": "trials schedulers planning errors quantities settings workspace",
        "trials": "planning samplers schedulers workers errors quantities settings signals",
        "planning": "errors quantities samplers settings time_budget workers",
        "workers": "",
        "schedulers": "",
        "samplers": "",
    },
    "fmnist_models": {
        "cli": "final report saved_model augmentation compute config data errors files output",
        "final": "report saved_model training compute config data errors files",
        "report": "saved_model training augmentation config data files output",
        "saved_model": "training augmentation config data errors files",
        "training": "families augmentation compute config data errors",
        "augmentation": "compute config data errors files",
        "families": "compute config",
        "data": "errors files",
        "compute": "errors files",
        "config": "errors",
    },
}
"""Read from the top, a package imports only what stands below it: there are no circles."""
MOST_FILES = 20
LONGEST_FUNCTION, LONGEST_FILE = 60, 320


def files_of(room: str) -> list[Path]:
    place = ROOT / room
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


ALL = [path for room in TABLE for path in files_of(room)]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path) for path in ALL}


@cache
def imports(path: Path) -> frozenset[str]:
    """Each module that a file imports anywhere, inside functions too, by its full name."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (whole & MODULES) or {node.module}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "__import__":
            raise AssertionError(f"{path}:{node.lineno}: __import__")
    return frozenset(found)


def top(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("room", TABLE)
def test_a_room_imports_only_what_the_table_allows(room: str) -> None:
    rooms, heavy = TABLE[room]
    found = {top(module) for path in files_of(room) for module in imports(path)}
    assert found & ROOMS <= rooms
    assert found & HEAVY <= heavy


def test_the_table_has_every_room() -> None:
    places = {p.parent.name for p in ROOT.glob("*/__init__.py")} | {
        p.name for p in ROOT.glob("*.py")
    }
    assert places - {"tests", "benchmarks"} == set(TABLE)
    assert all(files_of(room) for room in TABLE)


@pytest.mark.parametrize("room", PACKAGES)
def test_a_package_imports_only_what_the_table_allows(room: str) -> None:
    packages = PACKAGES[room]
    assert set(packages) == {p.parent.name for p in (ROOT / room).glob("*/__init__.py")}
    for package, allowed in packages.items():
        used = {m for p in files_of(f"{room}/{package}") for m in imports(p) if top(m) == room}
        found = {module.split(".")[1] for module in used if module != room}
        assert found <= {package, *allowed.split()}, f"{room}/{package}"


def test_no_package_imports_one_that_stands_above_it() -> None:
    for packages in PACKAGES.values():
        order = list(packages)
        for place, (package, allowed) in enumerate(packages.items()):
            above = {name for name in allowed.split() if name in order[:place]}
            assert not above, f"{package} is below {above}"


def test_no_file_imports_itself_by_way_of_others() -> None:
    remaining = {name_of(p): {m for m in imports(p) if m in MODULES} for p in ALL}
    while free := {name for name, used in remaining.items() if not used & set(remaining) - {name}}:
        remaining = {name: used for name, used in remaining.items() if name not in free}
    assert remaining == {}


def test_no_folder_is_too_wide() -> None:
    source = [path for path in source_files() if path.suffix == ".py"]
    files = Counter(path.parent for path in source if path.name != "__init__.py")
    assert {str(folder): n for folder, n in files.items() if n > MOST_FILES} == {}


def test_no_call_passes_a_tuple_in_place_of_named_arguments() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files_of("search")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and any(isinstance(a, ast.Starred) and isinstance(a.value, ast.Tuple) for a in node.args)
    ]
    assert found == []


def test_only_the_files_for_it_import_ray() -> None:
    users = {p for p in ALL if "ray" in map(top, imports(p))}
    assert users
    assert {p.parent for p in users} == {ROOT / "search" / "backend"}
    assert all(p.name.startswith("ray_") for p in users)


def test_storage_knows_only_the_storages_of_optuna_and_what_they_hold() -> None:
    used = {m for p in files_of("storage") for m in imports(p) if top(m) == "optuna"}
    assert used <= {"optuna.storages", "optuna.distributions", "optuna.trial"}


def test_tests_and_benchmarks_are_imported_by_nobody() -> None:
    found = {top(module) for path in ALL for module in imports(path)}
    assert not found & {"tests", "benchmarks"}


@pytest.mark.parametrize("room", ["fmnist_models", "spaces", "storage", "search"])
def test_our_package_wins_over_an_installed_one_of_the_name(room: str, tmp_path: Path) -> None:
    (tmp_path / room).mkdir()
    (tmp_path / room / "__init__.py").write_text("raise ImportError('the wrong one')\n")
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import {room}; print({room}.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == ROOT / room / "__init__.py"


def public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Give each public function and class of a module, and the public methods of the latter."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (
                    n
                    for n in node.body
                    if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")
                )


def test_every_public_symbol_has_a_docstring() -> None:
    missing = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in ALL
        for node in public(tree_of(path))
        if not ast.get_docstring(node)
    ]
    assert missing == []
    assert [path for path in ALL if not ast.get_docstring(tree_of(path))] == []


def test_functions_and_files_are_short() -> None:
    functions = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": node
        for path in ALL
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef)
    }
    lengths = {name: (n.end_lineno or 0) - n.lineno + 1 for name, n in functions.items()}
    assert {name: n for name, n in lengths.items() if n > LONGEST_FUNCTION} == {}
    files = {str(path): len(path.read_text().splitlines()) for path in ALL}
    assert {name: n for name, n in files.items() if n > LONGEST_FILE} == {}


def source_files() -> list[Path]:
    """Give the text files that are, or would be, under version control."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        kinds = ("*.py", "*.toml", "*.md", "*.ini", "*.cfg", "*.txt", "*.yml", "*.yaml")
        return [p for room in TABLE for p in files_of(room)] + [
            p for k in kinds for p in ROOT.glob(k)
        ]
    paths = [ROOT / name for name in done.stdout.splitlines()]
    return [p for p in paths if p.is_file() and not p.relative_to(ROOT).parts[0].startswith(".ci")]


FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w.~}])/(?:work|tmp|root|Users)/\w"),
    "a package registry": re.compile(
        r"(?:extra-)?index-url\s*=|pythonhosted\.|artifactory|/simple/?['\"\s]|file:///\w", re.I
    ),
}


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_no_source_names(kind: str) -> None:
    found = []
    for path in source_files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # a picture or a model
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(lines, 1)
            if FORBIDDEN[kind].search(line) and path != Path(__file__)
        ]
    assert found == []


INSIDE_OF_OPTUNA = re.compile(
    r"\._(?:study_id|trial_id|cached_frozen_trial|storage|backend|get_trials|set_trial_param)\b"
    r"|optuna\.\w+\._|\bfixed_params\b"
    r"|\b(?:FROM|JOIN|INTO|UPDATE) (?:studies|trials|trial_\w+|study_\w+|version_info)\b"
)
MAY_KNOW_IT = ["search/samplers/", "storage/optuna_storage.py", "storage/optuna_tables.py"]


def test_few_files_know_the_inside_of_optuna() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in ALL
        if not str(path.relative_to(ROOT)).startswith(tuple(MAY_KNOW_IT))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if INSIDE_OF_OPTUNA.search(line)
    ]
    assert found == []
