"""Optuna's storage on our database; apart from the rest because importing Optuna takes a while."""

from typing import NoReturn

from optuna.storages import RDBStorage
from sqlalchemy import URL

from storage.engine import engine_options
from storage.errors import StorageRefused
from storage.url import display_url


class SearchRDBStorage(RDBStorage):
    """Optuna's RDBStorage, kept from being pickled: the pickle would hold the password in clear."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("a storage is not pickled: call open_database(url) in the other process")


def make_optuna_storage(url: URL, busy_timeout_seconds: float) -> RDBStorage:
    """Give back Optuna's storage on `url`, its tables created.

    Raises StorageRefused when the tables were made by another, incompatible version of Optuna.
    """
    # Optuna fills the URL in with str.format, so braces in a path or password are doubled.
    template = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    try:
        return SearchRDBStorage(template, engine_options(url, busy_timeout_seconds))
    except RuntimeError as error:
        raise StorageRefused(f"{display_url(url)}: {error}") from error
