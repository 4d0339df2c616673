"""The machine that numbers belong to; as a plug-in of ASV, it answers ASV's questions about it.

Nothing but the standard library is imported at the top: ASV loads this module into its own process.
"""

import contextlib
import importlib.metadata
import os
import platform
from pathlib import Path


def _processor():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine()


def _vectors():
    """The widest vector instructions."""
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("asimd", "NEON")):
            if f" {flag} " in flags:
                return name
    return platform.machine()


def _system():
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    return platform.platform()


def cores() -> int:
    """CPUs that this process may use."""
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def file_system(folder: Path) -> str:
    """The kind of file system that a folder is on."""
    best, kind = "", "unknown"
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
            _, mount, name, *_ = line.split()
            if Path(folder).resolve().is_relative_to(mount) and len(mount) >= len(best):
                best, kind = mount, name
    return kind


def describe(folder: Path) -> str:
    """One sentence: processor, cores, memory, system, file system of ``folder``, versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("numpy", "numba", "scipy", "pyfftw", "soundfile", "pyloudnorm", "loudness", "joblib")
    versions = []
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    return (
        f"{_processor()} ({_vectors()}), {cores()} cores, {memory:.0f} GB, {_system()}, "
        f"Linux {platform.release()}, {file_system(folder)}; Python {platform.python_version()}, "
        + ", ".join(versions)
    ).replace("Linux", platform.system())


def settle(count: int) -> None:
    """Make the machine ready for a measurement that will fill ``count`` bytes of memory or page cache.

    What others have written goes to disk first. And so many bytes of memory are touched and given back: a
    virtual machine may have returned them to its host, and gets them back page by page, which would cost more than
    anything that is measured here.
    """
    if hasattr(os, "sync"):
        os.sync()
    memory = bytearray(count)
    for at in range(0, count, 4096):
        memory[at] = 1


def setup() -> None:
    """Tell ASV about this machine, where it would ask: ``asv run`` then works on a fresh machine."""
    from asv.machine import Machine, MachineCollection
    from asv.util import UserError

    name = Machine.get_unique_machine_name()
    try:
        MachineCollection.load(name)
    except UserError:
        MachineCollection.save(name, Machine.get_defaults())
