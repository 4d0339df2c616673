"""Dask clusters as users start them: a scheduler and workers, each in its own process."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress

import psutil

from tests.processes import wait_for
from tests.roots import REPOSITORY, environment


def copy_package(folder):
    """A copy of the package that may be changed."""
    shutil.copytree(
        REPOSITORY / "cadrender", folder / "cadrender", ignore=shutil.ignore_patterns("__pycache__")
    )
    return folder


@contextmanager
def dask_process(kind, log, *arguments, **variables):
    """``dask scheduler`` or ``dask worker``, as a user starts it."""
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}", *map(str, arguments)],
            stdout=stream,
            stderr=stream,
            env=environment(**variables),
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def cluster(folder, package, workers=2, *options, **variables):
    """A scheduler and some workers; yields the scheduler's address, its process and theirs."""
    variables = only(package) | variables
    with ExitStack() as processes:
        file = folder / "scheduler.json"
        local = ("--host", "127.0.0.1", "--no-dashboard")
        scheduler = processes.enter_context(
            dask_process(
                "scheduler",
                folder / "scheduler.log",
                *local,
                "--port",
                0,
                "--scheduler-file",
                file,
                **variables,
            )
        )
        wait_for(file.exists)
        address = wait_for(lambda: address_in(file))
        logs = [folder / f"worker{k}.log" for k in range(workers)]
        started = [
            processes.enter_context(
                dask_process(
                    "worker",
                    log,
                    address,
                    *local,
                    *("--local-directory", folder),
                    *(options or ("--nthreads", 1, "--no-nanny")),
                    **variables,
                )
            )
            for log in logs
        ]
        for log in logs:
            wait_for(lambda log=log: "Registered to" in log.read_text())
        yield address, scheduler, started


def only(package):
    """Environment that imports cadrender from there, not from the current folder."""
    return {"PYTHONPATH": str(package), "PYTHONSAFEPATH": "1"}


def address_in(file):
    try:
        return json.loads(file.read_text())["address"]
    except ValueError:
        return None


def holder(root, workers):
    """A worker that has a temporary file open."""
    for worker in workers:
        files = [file.path for file in psutil.Process(worker.pid).open_files()]
        if any(path.startswith(str(root)) and path.endswith(".part") for path in files):
            return worker
    return None
