"""Ray for one launch: one of our own that nobody else can reach, or a cluster that is joined.

Our own listens on loopback alone, asks for a token that is made for this launch, shows no
dashboard, and keeps its session in a folder of the user's own that is removed at the end. A cluster
is joined only when that was asked for, and only with its token.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TextIO, cast

import psutil

from fmnist_models.files import expand_home, has_home
from fmnist_models.output import Patient
from search.backend.ray_watch import RayWatch, watch_joined, watch_ours
from search.backend.session_folder import (
    RAY_FOLDER,
    processes_of_session,
    session_folder,
    write_private,
)
from search.errors import SurroundingsError, UsageError
from search.planning.plan import Node
from search.settings import STORAGE_VARIABLE
from search.signals import handlers_kept
from search.workspace import ROOMS, ROOT

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ray's monitor ends the whole run when one trial takes too much memory.
    "RAY_memory_monitor_refresh_ms": "0",
    # Another version of Ray may not know this: then workers import as late as their first trial.
    "RAY_preload_python_modules": "search.backend.ray_preload",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Ray's snapshots of an experiment are never restored from: SQL is the only truth.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    # Nor is its count of the cluster's resources looked at, which waits for ever for a dead Ray.
    "TUNE_STATE_REFRESH_PERIOD": "1000000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # A result may be a failure, without metrics.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Environment variable of Ray: 0 keeps it to loopback on Linux too."""
OBJECT_STORE_BYTES = 200_000_000
CONNECT_SECONDS = 5.0
RAY_OUTPUT = "FMNIST_SEARCH_RAY_OUTPUT"
"""Environment variable: when set, Ray's own output is shown."""
NO_TOKEN = "FMNIST_SEARCH_CLUSTER_WITHOUT_TOKEN"
"""Environment variable: when set to 1, a cluster without token authentication may be joined."""


@contextmanager
def ray_alone(node: Node) -> Iterator[RayWatch]:
    """A Ray of our own on this machine's loopback, with what `node` has, for the block.

    The block is given its watch. Raises SurroundingsError when it does not start: on a busy machine
    it may take too long for itself, so it is tried again.
    """
    with ExitStack() as stack:
        for is_last in (False, True):
            try:
                watch = stack.enter_context(_ray_in_a_session(node))
                break
            except SurroundingsError:
                if is_last:
                    raise
        yield watch


@contextmanager
def _ray_in_a_session(node: Node) -> Iterator[RayWatch]:
    with session_folder() as folder:
        token = folder / "token"
        write_private(token, secrets.token_hex(32))
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        forced = {
            # Without this ray.init() listens on every interface, even when told 127.0.0.1.
            LOOPBACK: "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_AUTH_TOKEN": None,
            STORAGE_VARIABLE: None,  # may hold a password, which workers have no use for
            "PYTHONPATH": path,
            **({} if has_home() else {"HOME": str(folder)}),  # Ray's modules want one
        }
        where: dict[str, Any] = {
            "address": "local",  # whatever $RAY_ADDRESS says
            "num_cpus": int(node.cpus),
            "num_gpus": int(node.gpus),
            "_memory": node.memory_bytes,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_temp_dir": str(folder / RAY_FOLDER),
        }
        with _environment(forced), _initialized(where, "here", folder):
            yield watch_ours(folder)


@contextmanager
def ray_joined(address: str) -> Iterator[RayWatch]:
    """The cluster at `address` (auto, or HOST:PORT) for the block; our code travels to its nodes.

    The block is given its watch. Raises UsageError where its token is missing, SurroundingsError
    when it cannot be joined.
    """
    forced = _token_environment(os.environ)
    _check_port(address)
    code = [str(ROOT / room) for room in ROOMS]
    runtime = {"py_modules": code, "excludes": ["__pycache__", "*.pyc"]}
    where = {"address": address, "runtime_env": runtime}
    with _environment(forced), _initialized(where, address) as context:
        yield watch_joined(context.address_info)


@contextmanager
def _initialized(where: Mapping[str, Any], place: str, folder: Path | None = None) -> Iterator[Any]:
    """Ray for the block, which is given what ray.init gives."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with handlers_kept():
        import ray
    loud = bool(os.environ.get(RAY_OUTPUT))
    with _off_stdout(loud), _shut_down(folder):
        with handlers_kept():
            level = logging.INFO if loud else logging.CRITICAL
            logging.getLogger("ray").setLevel(level)
            _reread_environment()
            try:
                with nullcontext() if loud else _silent_and_lean():
                    context = ray.init(log_to_driver=loud, logging_level=level, **where)
            except Exception as error:  # Ray raises whatever comes to hand, plain Exception too
                first = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise SurroundingsError(f"Ray did not start ({place}): {first}") from error
        yield context


@contextmanager
def _off_stdout(loud: bool) -> Iterator[None]:
    """What Ray tells of its dead processes in the block goes to stderr, if anywhere.

    `log_to_driver` does not switch that off.
    """
    from ray._private import worker as found

    worker: Any = found
    usual = worker.print_to_stdstream

    def tell(data: dict[str, Any], *arguments: Any, **options: Any) -> None:
        if loud:
            usual({**data, "is_err": True}, *arguments, **options)

    worker.print_to_stdstream = tell
    try:
        yield
    finally:
        worker.print_to_stdstream = usual


@contextmanager
def _silent_and_lean() -> Iterator[None]:
    with _stderr_closed(), _lean():
        yield


@contextmanager
def _lean() -> Iterator[None]:
    """A Ray that starts in the block has no autoscaler and nobody who collects its logs.

    `ray start` has options for that, ray.init has none. These two processes took two of the eight
    CPU seconds of its start (benchmarks/LOG.md).
    """
    from ray._private import parameter as found

    parameter: Any = found
    usual = parameter.RayParams

    def lean(**options: Any) -> Any:
        try:
            return usual(**options, no_monitor=True, include_log_monitor=False)
        except TypeError:  # another version of Ray has other options
            return usual(**options)

    parameter.RayParams = lean
    try:
        yield
    finally:
        parameter.RayParams = usual


@contextmanager
def _stderr_closed() -> Iterator[None]:
    """Nothing that libraries write to file 2 in the block is seen; `sys.stderr` still goes there.

    What Ray's core has to say while it starts comes as an exception too. Other threads go on
    talking meanwhile, and who keeps the stream that they find may do so after the block.
    """
    usual = other = sys.stderr
    usual.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        if _is_file_2(usual):
            stream = os.fdopen(os.dup(kept), "w", buffering=1, errors="backslashreplace")
            sys.stderr = other = cast("TextIO", Patient(stream))
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        if sys.stderr is other:
            sys.stderr = usual
        os.close(nowhere)
        os.close(kept)


def _is_file_2(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):  # it is kept in memory
        return False


@contextmanager
def _shut_down(folder: Path | None = None) -> Iterator[None]:
    """Leave Ray at the end of the block; kill what is left of it in our session at `folder`.

    Ray itself takes its time for that, and leaves it for the end of this process where it did not
    start. Workers that compute are not waited for: their checkpoints are on the disk.
    """
    import ray

    try:
        yield
    finally:
        ours = processes_of_session(folder) if folder else []
        ray.shutdown()
        for process in ours:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(ours, timeout=5)


def _reread_environment() -> None:
    """Ray has read its settings when it was imported, which may be long ago."""
    from ray import _raylet
    from ray._private import ray_constants

    _raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]
    _raylet.Config.initialize("")  # type: ignore[attr-defined]
    ray_constants.ENABLE_RAY_CLUSTER = os.environ.get(LOOPBACK) != "0"  # looked at when it starts


@contextmanager
def _environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Environment variables for the block; None stands for unset."""
    before = {name: os.environ.get(name) for name in values}
    _set_environment(values)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _token_environment(environment: Mapping[str, str]) -> dict[str, str | None]:
    """What makes Ray use the cluster's token; raises UsageError where there is none."""
    if environment.get(NO_TOKEN) == "1":
        return {}
    if environment.get("RAY_AUTH_TOKEN"):
        return {"RAY_AUTH_MODE": "token"}
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    path = expand_home(named or "~/.ray/auth_token")
    try:
        filled, found = bool(path.read_text().strip()), path.stat()
    except (OSError, UnicodeDecodeError):
        filled = False
    if not filled:
        raise UsageError(
            f"--address needs the cluster's token in {path} (copy it from the head node; made by "
            f"`ray get-auth-token --generate`), or {NO_TOKEN}=1 to go without"
        )
    if found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) & 0o077:
        raise UsageError(f"the token in {path} can be read by others; chmod 600 {path}")
    # Ray would look for a folder called ~.
    in_full = {"RAY_AUTH_TOKEN_PATH": str(path)} if named not in (None, "", str(path)) else {}
    return {"RAY_AUTH_MODE": "token", **in_full}


def _check_port(address: str) -> None:
    """Raises SurroundingsError where nothing answers: Ray itself would try for a minute."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise SurroundingsError(
            f"no Ray cluster answers at --address {address} ({error}); see `ray start --head`"
        ) from None
