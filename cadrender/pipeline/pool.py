"""Running batches: in this process, or on a joblib pool of processes."""

import contextlib
import logging
import os
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

from cadrender import startup
from cadrender.catalogue.output import Batch
from cadrender.pipeline.commit import BatchReport, run_batch
from cadrender.pipeline.dask import Cluster
from cadrender.pipeline.warmup import warm_up

_log = logging.getLogger("cadrender")

_KILLED = "a worker process was killed, possibly for lack of memory"

# Smallest bundle of batches (frames x heads) worth dispatching, some 30 ms of work: five excerpts, or a song.
_WORTH_A_TRIP = 2_000_000

# Seconds an idle worker has to exit.
_LEAVE = 2.0

# Seconds between a worker's checks that its parent is alive.
_WATCH_INTERVAL = 0.5

# Batches by number, and the result of each.
_Batches = Mapping[int, Batch]
_Reports = Generator[tuple[int, Any]]


def usable_cpus() -> int:
    """Number of CPUs this process may use (affinity and container limits included)."""
    from joblib import cpu_count

    return int(cpu_count())


def run_batches(
    batches: Iterable[Any],
    n_jobs: int,
    work: Callable[[Any], Any] = run_batch,
    failed: Callable[..., Any] = BatchReport,
    say: Callable[[str], None] = _log.warning,
    cluster: Cluster | None = None,
) -> Generator[Any]:
    """Run batches and yield their reports as they arrive.

    Closing the generator, or an exception in it, ends the workers at once; files being written keep their temporary
    names, and the next run removes them. No worker outlives the generator or this process.

    If a worker process is killed, new ones take over, with fewer at a time from the second death on. A batch in flight
    at two deaths runs by itself; if its worker dies again, the batch has failed.

    Parameters
    ----------
    batches : iterable of Batch
    n_jobs : int
        Processes; 1 runs the batches in this process.
    work : callable
        Takes a batch and returns its report; default: make its files.
    failed : callable
        Makes the report of a batch whose workers were killed: ``failed(batch, error=line)``.
    say : callable
        Called with one line about killed workers.
    cluster : Cluster, optional
        Where the batches run; default: processes on this machine.
    """
    batches = list(batches)
    n_jobs = min(n_jobs, len(batches))
    if not batches:
        return
    if cluster:
        run, killed = cluster.run, cluster.killed
        cluster.prepare(batches)
    elif n_jobs == 1:
        for batch in batches:
            yield work(batch)
            startup.release_collector()
        return
    else:
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        run, killed = _on_pool, TerminatedWorkerError
        warm_up(batches)
    left = dict(enumerate(batches))
    deaths: Counter[int] = Counter()
    while left:
        alone = [number for number in left if deaths[number] > 1][:1]
        flying: set[int] = set()
        try:
            numbers, at_a_time = (alone, 1) if alone else (list(left), n_jobs)
            with contextlib.closing(run(left, numbers, at_a_time, work, flying)) as reports:
                for number, report in reports:
                    del left[number]
                    yield report
        except killed:
            if not left:
                break  # everything was already done
            if alone:
                batch = left.pop(alone[0])
                yield failed(
                    batch, error=f"{_names([batch])}: {_KILLED}, three times; a lower -j leaves more for each"
                )
                continue
            if deaths:
                n_jobs = max(1, n_jobs // 2)
            lost = sorted(flying & set(left)) or list(left)
            deaths.update(lost)
            say(
                f"{_KILLED} (-j sets how many share it), at work on {_names(left[number] for number in lost)}; "
                f"going on with {n_jobs} at a time"
            )


def _names(batches: Iterable[Batch]) -> str:
    names = list(dict.fromkeys(batch.song for batch in batches))
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _bundles(
    batches: _Batches, numbers: Sequence[int], n_jobs: int, flying: set[int]
) -> Iterator[list[tuple[int, Batch]]]:
    """Adjacent batches in bundles worth dispatching; more bundles than workers, so that none is idle."""
    worth = min(_WORTH_A_TRIP, sum(batches[number].frame_scenes for number in numbers) // (4 * n_jobs))
    bundle: list[tuple[int, Batch]] = []
    size = 0
    for number in numbers:
        bundle.append((number, batches[number]))
        size += batches[number].frame_scenes
        if size >= worth or number == numbers[-1]:
            flying.update(number for number, _ in bundle)
            yield bundle
            bundle, size = [], 0


def _run_bundle(work: Callable[[Batch], Any], bundle: list[tuple[int, Batch]]) -> list[tuple[int, Any]]:
    reports = [(number, work(batch)) for number, batch in bundle]
    startup.release_collector()
    return reports


def _on_pool(
    batches: _Batches,
    numbers: Sequence[int],
    n_jobs: int,
    work: Callable[[Batch], Any],
    flying: set[int],
) -> _Reports:
    """Run the numbered batches; those handed to the pool are added to `flying`."""
    from joblib import Parallel, delayed

    pool = Parallel(
        max(2, n_jobs),  # 1 would be this process itself
        backend="loky",
        batch_size=1,
        # No more than loky's queue holds: it fails on the rest if ended early.
        pre_dispatch=1 if n_jobs == 1 else 2 * n_jobs,
        return_as="generator_unordered",
        initializer=_begin_worker,
        initargs=(os.getpid(),),
    )
    finished = False
    try:
        with warnings.catch_warnings():
            # About killed or replaced workers, and reports that nobody collected.
            warnings.filterwarnings("ignore", category=UserWarning, module="joblib")
            with _interrupts_held_back():
                bundles = pool(
                    delayed(_run_bundle)(work, bundle)
                    for bundle in _bundles(batches, numbers, n_jobs, flying)
                )
            with contextlib.closing(bundles):
                for reports in bundles:
                    yield from reports
        finished = True
    finally:
        _end_workers(kill=not finished)


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Block Ctrl-C while worker processes start: they inherit the mask and never see it; the parent ends them.

    A Ctrl-C in the meantime reaches this process at the end.
    """
    _start_trackers()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_trackers() -> None:
    """Start the processes that clean up after the pool, unable to print what killed workers left behind.

    This comes first because they, too, change the signal mask while starting.
    """
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as loky_tracker

    with startup.silent_stderr():
        resource_tracker.ensure_running()
        loky_tracker.ensure_running()


def _begin_worker(parent: int) -> None:
    startup.hold_collector()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent has ended: loky's workers would wait five minutes for work."""
    while os.getppid() == parent:
        time.sleep(_WATCH_INTERVAL)
    os._exit(1)


def _end_workers(kill: bool) -> None:
    """End the pool's processes, in mid-work if necessary.

    Idle ones exit on their own, unless one was killed while holding the queue's lock, which blocks the others; so they
    get little time. Killed ones are dead on return, and their files no longer claimed.
    """
    from joblib.externals.loky import reusable_executor

    executor = reusable_executor._executor
    if executor is None:
        return
    processes = list((executor._processes or {}).values())
    try:
        executor.shutdown(wait=False, kill_workers=kill)
        if not kill:
            kill = not _are_gone(processes)
    except BaseException:
        kill = True
        raise
    finally:
        for process in processes if kill else ():
            with contextlib.suppress(OSError, ValueError):
                if process.is_alive():
                    os.kill(process.pid, signal.SIGKILL)
        _are_gone(processes)


def _are_gone(processes: Iterable[BaseProcess]) -> bool:
    """Wait a while for processes to exit; returns whether all have."""
    deadline = time.monotonic() + _LEAVE
    while alive := any(process.is_alive() for process in processes):
        if time.monotonic() > deadline:
            break
        time.sleep(_LEAVE / 1000)
    return not alive
