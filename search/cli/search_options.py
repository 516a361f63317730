"""The options of `run_search.py`, and the settings that they come to."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from search.cli.parsing import Parser, seconds, size, without_password
from search.cli.space_list import list_spaces
from search.settings import SAMPLERS, SCHEDULERS, SearchSettings, make_settings, storage_default

EXIT_STATUS = """exit status: 0 done; 1 no trial completed; 2 a mistake in what was asked for;
3 the surroundings failed (start again to go on); 130, 143 interrupted, everything saved.
`--trials` is the study's total: run again and it goes on to that many, not to twice as many."""


def build_parser() -> Parser:
    """All options, with their defaults and units."""
    parser = Parser(prog="run_search.py", description=__doc__, epilog=EXIT_STATUS)
    parser.add_argument("--space", help="search space (see --list-spaces)")
    parser.add_argument("--trials", type=int, help="finished trials of the study in total")
    parser.add_argument("--list-spaces", action="store_true", help="list the spaces and exit")
    _add_study_options(parser)
    _add_search_options(parser)
    _add_machine_options(parser)
    _add_safety_options(parser)
    return parser


def _add_study_options(parser: Parser) -> None:
    group = parser.add_argument_group("study")
    group.add_argument("--study", help="name of the study (default: the space's name)")
    group.add_argument(
        "--storage",
        help="database URL (default: $FMNIST_SEARCH_STORAGE, else sqlite:///fmnist_search.db)",
    )
    group.add_argument(
        "--json", action="store_true", help="the summary as JSON, the last line on stdout"
    )


def _add_search_options(parser: Parser) -> None:
    group = parser.add_argument_group("search")
    group.add_argument(
        "--epochs", type=int, help="most epochs of a trial (default: 9 on a CPU, 27 on a GPU)"
    )
    group.add_argument(
        "--grace-period",
        type=int,
        help="epochs before a trial may be stopped; a warning says when they tell too little of "
        "later ones (default: epochs / reduction factor squared)",
    )
    group.add_argument(
        "--reduction-factor", type=int, default=3, help="one in so many passes a rung (default: 3)"
    )
    group.add_argument(
        "--sampler",
        default="curves",
        help=f"{', '.join(SAMPLERS)}; curves is a Gaussian process over the learning curves of "
        "all trials (default: curves)",
    )
    group.add_argument(
        "--scheduler",
        default="quota",
        help=f"{', '.join(SCHEDULERS)}; quota is asha that lets only so many trials pass a rung "
        "(default: quota)",
    )
    group.add_argument("--seed", type=int, default=0, help="of sampler and training (default: 0)")
    group.add_argument(
        "--time-budget", type=seconds, help="end after this long, e.g. 30m (default: no limit)"
    )
    group.add_argument(
        "--max-epoch-time",
        type=seconds,
        help="start no configuration whose epoch takes longer, e.g. 90s; 0: no limit "
        "(default: 2m on a CPU, 40s in quick, no limit on a GPU; "
        "with --time-budget at most what lets three trials run all their epochs one after another)",
    )


def _add_machine_options(parser: Parser) -> None:
    group = parser.add_argument_group("machine and data")
    group.add_argument("--concurrency", type=int, help="trials at a time (default: what fits)")
    group.add_argument("--cpus-per-trial", type=float, help="CPU cores of a trial (default: 1)")
    group.add_argument(
        "--gpus-per-trial",
        type=float,
        help="GPUs of a trial, may be a part (default: 1, 1/2 or 1/4, as was measured to suffice)",
    )
    group.add_argument(
        "--address",
        help="Ray cluster to join: auto or HOST:PORT; needs its token, see README (default: none)",
    )
    group.add_argument(
        "--data-dir", help="folder of the four idx files (default: found or fetched, see README)"
    )
    group.add_argument(
        "--train-samples",
        type=int,
        help="train on a stratified part, 1,000 at least (default: all 50,000 images)",
    )


def _add_safety_options(parser: Parser) -> None:
    group = parser.add_argument_group("faults")
    group.add_argument(
        "--checkpoint-dir",
        help="folder of the running trials' checkpoints (default: FILE.checkpoints beside a SQLite "
        "FILE, else in the user's cache; on a cluster, name one that all nodes share)",
    )
    group.add_argument(
        "--retries",
        type=int,
        default=2,
        help="most times that a trial which raised, hung or lost its worker is tried again "
        "(default: 2)",
    )
    group.add_argument(
        "--trial-timeout",
        type=seconds,
        help="an epoch that takes longer counts as hung and is ended, e.g. 20m "
        "(default: 10 times what it is expected to take, at least 10m)",
    )
    group.add_argument(
        "--database-outage",
        type=seconds,
        default=300.0,
        help="wait this long for a database that is gone before giving up (default: 5m)",
    )
    group.add_argument(
        "--min-free",
        type=size,
        default=100_000_000,
        help="start no trial with less free disk than this, e.g. 1GB (default: 100MB)",
    )


def settings_of(arguments: Sequence[str]) -> tuple[SearchSettings, bool]:
    """The settings that a command line asks for, and whether it wants JSON.

    Raises UsageError; `--help` and what argparse refuses end the program.
    """
    parser = build_parser()
    options = vars(parser.parse_args(arguments))
    if options.pop("list_spaces"):
        print(list_spaces())
        sys.exit(0)
    if not options["space"] or options["trials"] is None:
        parser.error("--space and --trials are needed, for example --space quick --trials 12")
    as_json = options.pop("json")
    if options["storage"]:
        options["storage"] = without_password(options["storage"])
    else:
        options["storage"] = storage_default(os.environ)
    options["study"] = options["study"] or options["space"]
    options["time_budget_seconds"] = options.pop("time_budget")
    options["max_epoch_seconds"] = options.pop("max_epoch_time")
    options["trial_timeout_seconds"] = options.pop("trial_timeout")
    options["database_outage_seconds"] = options.pop("database_outage")
    options["min_free_bytes"] = options.pop("min_free")
    return make_settings(**options), as_json
