"""Database URLs: what is accepted, refused, and never shown."""

import os
import sys
from pathlib import Path

import pytest

from storage import StorageRefused, hide_password, mask_url, open_database
from storage.url import check_file, check_space, display_url, parse_url

CANARY = "c4n4ry"
MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/local ext4 rw 0 0
me@host: /mnt/my\\040share fuse.sshfs rw 0 0
//nas/a /mnt/cifs cifs rw 0 0
/dev/sdc1 /mnt/cifs ext4 rw 0 0
"""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "search.db",
        "sqlite://search.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///search.db?mode=ro",
        "sqlite+aiosqlite:///search.db",
        "mysql://root@localhost/db",
        "postgresql+psycopg2://u@h/db",
        "redis://localhost",
        "line\nbreak",
        f"postgresql://u:{CANARY}@h:notaport/db",
        f"postgresql://u:a b/{CANARY}@c@h:notaport/db",
        f"mysql://u:{CANARY}@h/db?password={CANARY}",
    ],
)
def test_unusable_url_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(StorageRefused) as refusal:
        parse_url(url)
    message = str(refusal.value)
    assert "\n" not in message
    assert "sqlite:///FILE.db" in message
    assert CANARY not in message


def test_the_environments_password_is_hidden_from_processes_and_still_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("storage.url._hidden", {})
    monkeypatch.setenv("PGPASSWORD", CANARY)
    for _ in range(2):
        assert parse_url("postgresql://u@h/db").password == CANARY
        assert parse_url("postgresql://u:own@h/db").password == "own"
        assert CANARY not in display_url(parse_url("postgresql://u@h/db"))
        hide_password()
        assert "PGPASSWORD" not in os.environ


def test_homes_are_known_and_unknown_ones_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_url("sqlite:///~/x.db").database == str(tmp_path / "x.db")
    with pytest.raises(StorageRefused, match="home is not known"):
        parse_url("sqlite:///~nobody-here/x.db")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_reached_with_psycopg_3(scheme: str) -> None:
    assert parse_url(f"{scheme}://u@h/db").drivername == "postgresql+psycopg"


def test_missing_driver_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # Python's own way to make an import fail
    with pytest.raises(StorageRefused, match="pip install 'psycopg"):
        parse_url("postgresql://u@h/db")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{CANARY}@h/db",
        f"postgresql://u@h/db?password={CANARY}",
        f"postgresql://u:{CANARY}@h/db?sslpassword={CANARY}&x=1",
        f"postgresql://u:other@h/db?password=first&password={CANARY}",
        f"postgresql://u@h/db?pass%77ord={CANARY}",
    ],
)
def test_no_password_is_shown(url: str) -> None:
    parsed = parse_url(url)
    assert CANARY not in display_url(parsed) + str(parsed.set(query={})) + repr(parsed.username)
    assert "pass%77ord" in url or CANARY not in mask_url(url)


def test_password_in_the_query_is_still_used() -> None:
    parsed = parse_url(f"postgresql://u:old@h/db?password={CANARY}&sslmode=require")
    assert parsed.password == CANARY
    assert dict(parsed.query) == {"sslmode": "require"}


def test_sqlite_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to("real.db")
    assert parse_url("sqlite:///link.db").database == str(tmp_path.resolve() / "real.db")


def test_odd_file_names_work(tmp_path: Path) -> None:
    name = "a b{x}%#'ü:@&.db"
    url = f"sqlite:///{tmp_path}/" + name.replace("%", "%25")
    with open_database(url) as database:
        database.remember_study("wrn", {})
        database.optuna_storage.get_all_studies()
    with open_database(url, create=False) as database:
        assert database.study_names() == ["wrn"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me", "nfs4"),
        ("/home/local/me", None),
        ("/homework", None),
        ("/mnt/my share/x", "fuse.sshfs"),
        ("/mnt/cifs", None),
        ("/", None),
    ],
)
def test_network_file_system_is_found(tmp_path: Path, folder: str, kind: str | None) -> None:
    # The table is moved under tmp_path, so that the folders can exist.
    mounts = MOUNTS.replace(" /", f" {tmp_path}/")
    path = tmp_path / folder.lstrip("/") / "search.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind is None:
        check_file(path, mounts=mounts)
        return
    with pytest.raises(StorageRefused, match=rf"network file system \({kind}\).*postgresql://"):
        check_file(path, mounts=mounts)


@pytest.mark.parametrize(("point", "refused"), [("/", False), ("/mnt", True)])
def test_only_a_root_may_be_9p(point: str, refused: bool) -> None:
    mounts = f"/dev/sda1 / ext4 rw 0 0\nhost {point} 9p rw 0 0\n"
    if not refused:
        check_file(Path("/mnt/search.db"), mounts=mounts)
        return
    with pytest.raises(StorageRefused, match="9p"):
        check_file(Path("/mnt/search.db"), mounts=mounts)


def test_a_disk_that_is_nearly_full_is_refused_at_start(tmp_path: Path) -> None:
    check_space(tmp_path / "search.db", least_bytes=1)
    with pytest.raises(
        StorageRefused, match=r"search\.db: only \d+ MB are free .* name a file"
    ) as e:
        check_space(tmp_path / "search.db", least_bytes=10**18)
    assert "\n" not in str(e.value)
