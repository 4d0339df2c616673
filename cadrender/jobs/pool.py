"""Running jobs: in this process, or on a joblib pool of processes."""

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator

from cadrender.errors import CadrenderError
from cadrender.jobs.stem import Report, StemJob, run_stem_job


def usable_cpus() -> int:
    """How many CPUs this process may use (affinity and container limits included)."""
    from joblib import cpu_count

    return cpu_count()


def _ignore_interrupts():
    """Leave Ctrl-C to the parent, which ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_jobs(jobs: Iterable[StemJob], n_jobs: int) -> Iterator[Report]:
    """Run jobs and yield their reports as they come.

    Closing the generator, or an exception in it, ends the workers at once; what they were writing is left
    under temporary names, which the next run removes.

    Parameters
    ----------
    jobs : iterable of StemJob
    n_jobs : int
        Processes; 1 runs the jobs in this process.

    Raises
    ------
    CadrenderError
        If a worker process was killed.
    """
    if n_jobs == 1:
        yield from map(run_stem_job, jobs)
        return
    jobs = list(jobs)
    if not jobs:
        return
    _prepare(jobs)
    yield from _on_pool(jobs, min(n_jobs, len(jobs)))


def _on_pool(jobs, n_jobs):
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    pool = Parallel(
        n_jobs,
        backend="loky",
        batch_size=1,
        pre_dispatch="3 * n_jobs",
        return_as="generator_unordered",
        initializer=_ignore_interrupts,
    )
    finished = False
    try:
        yield from pool(delayed(run_stem_job)(job) for job in jobs)
        finished = True
    except TerminatedWorkerError as error:
        raise CadrenderError(
            "a worker process was killed, perhaps for want of memory: run again with a lower -j"
        ) from error
    finally:
        if not finished:
            _end_workers()


def _end_workers():
    from joblib.externals.loky import reusable_executor

    executor = reusable_executor._executor
    if executor is not None:
        processes = list((executor._processes or {}).values())
        executor.shutdown(wait=False, kill_workers=True)
        for process in processes:
            with contextlib.suppress(OSError, ValueError):
                os.kill(process.pid, signal.SIGKILL)


def _prepare(jobs):
    """Compile and plan once, here, what all the workers will need; they find it in the user's cache."""
    from cadrender.jobs.prepare import prepare

    prepare(jobs)
