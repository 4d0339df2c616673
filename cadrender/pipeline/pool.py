"""Running batches: in this process, or on a joblib pool of processes."""

import contextlib
import logging
import os
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from cadrender import startup
from cadrender.catalogue.output import Batch
from cadrender.pipeline.commit import BatchReport, run_batch
from cadrender.pipeline.dask import Cluster
from cadrender.pipeline.warmup import warm_up

_log = logging.getLogger("cadrender")

_KILLED = "a worker process was killed, perhaps for want of memory"

# Frames times heads that are worth a trip to a worker, some 30 ms of work: excerpts travel in fives, songs alone.
_WORTH_A_TRIP = 2_000_000

# Seconds in which a worker without work has to end.
_LEAVE = 2.0

# Seconds between two looks of a worker at whether its parent still lives.
_WATCH_INTERVAL = 0.5


def usable_cpus() -> int:
    """How many CPUs this process may use (affinity and container limits included)."""
    from joblib import cpu_count

    return cpu_count()


def run_batches(
    batches: Iterable[Batch],
    n_jobs: int,
    work: Callable = run_batch,
    failed: Callable = BatchReport,
    say: Callable[[str], None] = _log.warning,
    cluster: Cluster | None = None,
) -> Iterator[BatchReport]:
    """Run batches and yield their reports as they come.

    Closing the generator, or an exception in it, ends the workers at once; what they were writing is left
    under temporary names, which the next run removes. No worker outlives the generator, or this process.

    When a worker process is killed, new ones go on, with fewer at a time from the second death on. A batch that
    was in flight twice when that happened runs by itself; when its worker dies again, it has failed.

    Parameters
    ----------
    batches : iterable of Batch
    n_jobs : int
        Processes; 1 runs the batches in this process.
    work : callable
        What is done with a batch, of which reports come; render and write it by default.
    failed : callable
        Makes the report of a batch whose workers were killed: ``failed(batch, error=line)``.
    say : callable
        Told of killed workers.
    cluster : Cluster, optional
        Where the batches run; processes of this machine by default.
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
    deaths = Counter()
    while left:
        alone = [number for number in left if deaths[number] > 1][:1]
        flying = set()
        try:
            numbers, at_a_time = (alone, 1) if alone else (list(left), n_jobs)
            with contextlib.closing(run(left, numbers, at_a_time, work, flying)) as reports:
                for number, report in reports:
                    del left[number]
                    yield report
        except killed:
            if not left:
                break  # it had nothing left to do
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


def _names(batches):
    names = list(dict.fromkeys(batch.song for batch in batches))
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _bundles(batches, numbers, n_jobs, flying):
    """Neighbours in bundles that are worth a trip; more bundles than workers, so that none is left without."""
    worth = min(_WORTH_A_TRIP, sum(batches[number].frame_scenes for number in numbers) // (4 * n_jobs))
    bundle, size = [], 0
    for number in numbers:
        bundle.append((number, batches[number]))
        size += batches[number].frame_scenes
        if size >= worth or number == numbers[-1]:
            flying.update(number for number, _ in bundle)
            yield bundle
            bundle, size = [], 0


def _run_bundle(work, bundle):
    reports = [(number, work(batch)) for number, batch in bundle]
    startup.release_collector()
    return reports


def _on_pool(batches, numbers, n_jobs, work, flying):
    """Run the numbered batches; those handed to the pool are entered in `flying`."""
    from joblib import Parallel, delayed

    pool = Parallel(
        max(2, n_jobs),  # one would be this process itself
        backend="loky",
        batch_size=1,
        # No more than loky's queue holds: it trips over the rest when it is ended early.
        pre_dispatch=1 if n_jobs == 1 else 2 * n_jobs,
        return_as="generator_unordered",
        initializer=_begin_worker,
        initargs=(os.getpid(),),
    )
    finished = False
    try:
        with warnings.catch_warnings():
            # Of workers that were killed or replaced, and of reports that nobody waited for.
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
def _interrupts_held_back():
    """Start worker processes that never see Ctrl-C, not even while they import: the parent ends them.

    They inherit a mask that blocks the signal; one that arrives meanwhile reaches this process at the end.
    """
    _start_trackers()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_trackers() -> None:
    """Start the processes that clean up after the pool, with no way to talk about what killed workers left.

    It is done here because they, too, change the signal mask while they start.
    """
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as loky_tracker

    with startup.silent_stderr():
        resource_tracker.ensure_running()
        loky_tracker.ensure_running()


def _begin_worker(parent) -> None:
    startup.hold_collector()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent) -> None:
    """End this process when its parent is gone: loky's workers would wait for work for five minutes."""
    while os.getppid() == parent:
        time.sleep(_WATCH_INTERVAL)
    os._exit(1)


def _end_workers(kill) -> None:
    """End the pool's processes, in the middle of their work if need be.

    Those that have nothing left to do end by themselves, unless one of them was killed just now: it may have taken
    the lock of the queue with it, at which the others wait to be told. So none is waited for for long. Those that are
    killed are dead on return, their files claimed by nobody.
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


def _are_gone(processes) -> bool:
    """Wait for processes to end, for a while; tell whether all have."""
    deadline = time.monotonic() + _LEAVE
    while alive := any(process.is_alive() for process in processes):
        if time.monotonic() > deadline:
            break
        time.sleep(_LEAVE / 1000)
    return not alive
