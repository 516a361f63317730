"""What the speed of training depends on here beside what is trained; how free the machine is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from fmnist_models.compute.precision import device_name, sample_step

VECTOR_UNITS = ("avx", "amx", "fma", "asimd", "sve", "sme", "bf16", "i8mm")
"""How the flags of a processor begin, x86's and Arm's, that decide what its arithmetic costs."""
VARIABLES = (
    *("ATEN_", "CUBLAS_", "CUDNN_", "DNNL_", "GOMP_", "KMP_", "MKL_", "NUMBA_", "NVIDIA_TF32"),
    *("OMP_", "ONEDNN_", "PYTORCH_", "TORCH_"),
)
"""How the environment variables begin by which libraries are told to compute otherwise."""
SAMPLE_STEPS = 10


def speed_facts(device: str) -> dict[str, str]:
    """All that decides how fast this process trains on `device`: hardware, versions, settings."""
    settings = {name: os.environ[name] for name in os.environ if name.startswith(VARIABLES)}
    return {
        "processor": device_name("cpu"),
        "vector units": " ".join(sorted(set(_vector_units()))),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "device": device,
        "card": "" if device == "cpu" else device_name(device),
        "threads": str(torch.get_num_threads()),
        "torch": str(torch.__version__),
        "numba": _numba_version(),
        "matmul": torch.get_float32_matmul_precision(),
        **{f"${name}": value for name, value in settings.items()},
    }


def sample_seconds(device: str) -> float:
    """Seconds of a step of fixed work, in the mean over a quarter of a second: low when free.

    The mean and not the least, as what is to be seen is what other work on the machine takes away.
    """
    step = sample_step(device)
    step()  # whatever is set up once
    start = time.perf_counter()
    for _ in range(SAMPLE_STEPS):
        step()
    return (time.perf_counter() - start) / SAMPLE_STEPS


def _vector_units() -> Iterator[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        name, _, flags = line.partition(":")
        if name.strip() in ("flags", "Features"):
            yield from (flag for flag in flags.split() if flag.startswith(VECTOR_UNITS))


def _numba_version() -> str:
    """Empty where it is missing: without it torch alone normalises batches, more slowly."""
    try:
        return version("numba")
    except PackageNotFoundError:
        return ""
