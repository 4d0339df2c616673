"""Running batches on a Dask cluster, through joblib's Dask backend: only paths travel; data is on a shared disk.

The user starts the scheduler and the workers; a worker that dies loses only its current batch, which Dask reruns
elsewhere. Every worker must run exactly the same source. Machines may differ: each compiles its own kernels and plans
its own transforms.
"""

import contextlib
import functools
import logging
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cadrender.catalogue.output import Batch
from cadrender.errors import CadrenderError, UsageError
from cadrender.store.durable import sync_files
from cadrender.version import version

if TYPE_CHECKING:
    from distributed import Client, Worker

# Seconds to wait for the scheduler, and for a first worker.
_PATIENCE = 20

# A worker may have several threads, but FFTW's plans have one set of buffers per process.
_one_at_a_time = threading.Lock()


@functools.cache
def fingerprint() -> str:
    """The version, and a digest of the package's source."""
    from blake3 import blake3

    package = Path(__file__).parents[1]
    hasher = blake3()
    for file in sorted(package.rglob("*.py")):
        hasher.update(f"{file.relative_to(package).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return f"{version()} ({hasher.hexdigest()[:12]})"


def _introduce(folder: Path, dask_worker: "Worker") -> tuple[str, int, bool]:
    """A worker's fingerprint, its number of threads, and whether it sees a folder."""
    return fingerprint(), dask_worker.state.nthreads, folder.is_dir()


def _run_bundle(
    work: Callable[[Batch], Any], bundle: list[tuple[int, Batch]], expected: str
) -> list[tuple[int, Any]]:
    if fingerprint() != expected:  # a worker that joined later
        raise CadrenderError(f"a worker runs cadrender {fingerprint()}, and this is {expected}")
    with _one_at_a_time:
        return [(number, work(batch)) for number, batch in bundle]


class Cluster:
    """The workers of a Dask scheduler; a context manager.

    Parameters
    ----------
    address : str
        Address of the scheduler, such as ``tcp://node1:8786``.
    folder : pathlib.Path
        A folder that all workers must see: the root.
    say : callable
        Called with each remark, one line.

    Attributes
    ----------
    workers : int
        Number of workers at the start.
    killed : type
        The exception that :meth:`run` raises if a batch's workers died repeatedly.

    Raises
    ------
    UsageError
        If Dask is not installed, or the address is invalid.
    CadrenderError
        If the scheduler cannot be reached, has no workers, or a worker cannot be used.
    """

    def __init__(self, address: str, folder: Path, say: Callable[[str], None] = lambda line: None) -> None:
        try:
            from distributed import Client, KilledWorker
        except ImportError as error:
            raise UsageError(
                "--backend dask needs Dask on this machine: pip install 'cadrender[dask]'"
            ) from error
        _silence()
        self.killed: type[Exception] = KilledWorker
        self._address = address
        try:
            self._client = Client(address, timeout=_PATIENCE, set_as_default=False)
        except (ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"{address}: not an address such as tcp://node1:8786: {reason}") from error
        except OSError as error:
            reason = " ".join(str(error).split())[:200]
            raise CadrenderError(f"{address}: no Dask scheduler answers there: {reason}") from error
        try:
            self._check_workers(folder, say)
        except BaseException:
            self._client.close()
            raise

    def _check_workers(self, folder: Path, say: Callable[[str], None]) -> None:
        try:
            self._client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError as error:
            raise CadrenderError(
                f"{self._address}: the scheduler has no workers; start some with: dask worker {self._address}"
            ) from error
        answers = self._client.run(_introduce, folder, on_error="return")
        for worker, answer in answers.items():
            if not isinstance(answer, tuple):
                reason = " ".join(str(answer).split())[:200]
                raise CadrenderError(
                    f"{worker}: cadrender {fingerprint()} does not run on this worker: {reason}"
                )
            found, threads, sees = answer
            if found != fingerprint():
                raise CadrenderError(
                    f"{worker}: this worker runs cadrender {found}; {fingerprint()} is needed"
                )
            if not sees:
                raise CadrenderError(f"{worker}: this worker does not see {folder}; a shared disk is needed")
            if threads > 1:
                say(f"{worker}: renders one batch at a time; start it with --nthreads 1 and more --nworkers")
        self.workers = len(answers)

    def _one_per_machine(self) -> list[str]:
        """One worker per machine."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        return list({facts["host"]: worker for worker, facts in workers.items()}.values())

    def prepare(self, batches: list[Batch]) -> None:
        """Compile and plan on one worker per machine; the others find the results in the user's cache."""
        from cadrender.pipeline.warmup import warm_up

        if workers := self._one_per_machine():
            self._client.run(warm_up, batches, workers=workers, on_error="ignore")

    def sync(self, files: Sequence[Path]) -> None:
        """Make files durable on every worker's machine.

        Raises
        ------
        CadrenderError
            If a worker's system reports a failed write.
        """
        answers = self._client.run(sync_files, files, workers=self._one_per_machine(), on_error="return")
        for worker, answer in answers.items():
            if isinstance(answer, CadrenderError):
                raise answer
            if isinstance(answer, Exception):
                raise CadrenderError(f"{worker}: cannot make its files durable: {answer}")

    def run(
        self,
        batches: Mapping[int, Batch],
        numbers: Sequence[int],
        n_jobs: int,
        work: Callable[[Batch], Any],
        flying: set[int],
    ) -> Generator[tuple[int, Any]]:
        """Run numbered batches and yield each number with the result of `work`.

        Parameters
        ----------
        batches : mapping of int to Batch
        numbers : sequence of int
            Which of them to run.
        n_jobs : int
            How many at a time; more if there are more workers.
        work : callable
            Function applied to each batch.
        flying : set of int
            Receives the numbers of batches handed to the scheduler.
        """
        from joblib import Parallel, delayed

        def calls() -> Iterator[Any]:
            for number in numbers:
                flying.add(number)
                yield delayed(_run_bundle)(work, [(number, batches[number])], fingerprint())

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="joblib")
            pool = Parallel(
                backend=_backend(self._client),
                batch_size=1,
                pre_dispatch=1 if n_jobs == 1 else "3 * n_jobs",
                return_as="generator_unordered",
            )
            try:
                for reports in pool(calls()):
                    yield from reports
            except (CancelledError, OSError) as error:
                raise CadrenderError(
                    f"{self._address}: the connection to the Dask scheduler was lost"
                ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(TimeoutError, OSError):
            self._client.close(timeout=1)


def _silence() -> None:
    """Keep Dask's own messages, such as tracebacks of lost connections, off the screen."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _backend(client: "Client") -> Any:
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        """joblib's backend with two corrections.

        joblib runs the batches in this process if there is a single worker, and waits forever for a batch whose
        workers have all died.
        """

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, super().effective_n_jobs(n_jobs))

        def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> Any:
            future = super().submit(func, callback)
            if callback is not None:
                future.add_done_callback(
                    lambda done: callback(done.exception()) if done.exception() else None
                )
            return future

    return Backend(client=client)
