"""A study in Python, for notebooks: its tables as pandas frames, its figures."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from search.report.study_data import StudyData, read_study
from search.report.tables import as_frame, epoch_table, trial_table
from search.settings import storage_default
from storage import open_database

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


class OpenStudy:
    """A study that is read anew at each call, so that a running search can be watched.

    Raises StorageRefused where there is no such database or study, UsageError for a study without a
    trial and for a package that is not installed.
    """

    def __init__(self, name: str, storage: str) -> None:
        self.name, self._url = name, storage
        self.read()

    def __repr__(self) -> str:
        return f"OpenStudy({self.name!r})"

    def read(self) -> StudyData:
        """All that the database holds of the study now."""
        with open_database(self._url, create=False) as database:
            return read_study(database.open_study(self.name))

    def trials(self) -> DataFrame:
        """A row a trial; `python -m search trials --help` has the columns."""
        return as_frame(trial_table(self.read()))

    def epochs(self) -> DataFrame:
        """A row an epoch; `python -m search epochs --help` has the columns."""
        return as_frame(epoch_table(self.read()))

    def figure(self, name: str) -> Figure:
        """A matplotlib figure: history, budget, importances, slices or rungs.

        Raises UsageError for another name, and where there is nothing to show yet.
        """
        from search.report.figures import figure

        return figure(self.read(), name)


def open_study(name: str, storage: str | None = None) -> OpenStudy:
    """The study called `name` in the database that `storage`, a URL, names.

    Where none is given that is what `run_search.py` takes: $FMNIST_SEARCH_STORAGE, else
    sqlite:///fmnist_search.db. Raises as `OpenStudy` does.
    """
    return OpenStudy(name, storage or storage_default(os.environ))
