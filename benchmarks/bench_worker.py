"""A worker's memory, and start-up times."""

import shutil
from itertools import product
from pathlib import Path
from statistics import median

from benchmarks import start
from benchmarks.roots import make_places, make_root, plan_of
from cadrender.pipeline.commit import run_batch


class Memory:
    """Peak memory of a worker on one stem, interpreter and libraries included."""

    params = ((1, 10), (1, 4, 16))
    param_names = ("minutes", "scenes a song")
    timeout = 600

    def setup_cache(self):
        for minutes, scenes in product(*self.params):
            make_root(Path(f"root-{minutes}-{scenes}"), seconds=60.0 * minutes, scenes=scenes)
        # Compiling and planning need memory too; a worker finds both already done.
        for scenes in self.params[1]:
            self.setup(self.params[0][0], scenes)
            run_batch(self.batch)
            self.teardown()

    setup_cache.timeout = 600

    def setup(self, minutes, scenes):
        root = Path(f"root-{minutes}-{scenes}")
        self.output = Path(f"output-{minutes}-{scenes}")
        self.batch = plan_of(root, self.output, stems=["mixture"]).batches[0]
        make_places([self.batch])

    def teardown(self, *parameters):
        shutil.rmtree(self.output)

    def peakmem_worker(self, minutes, scenes):
        report = run_batch(self.batch)
        assert len(report.written) == scenes, report.error


class Start:
    """From the command to the first visible result."""

    timeout = 600
    number = 1

    def setup_cache(self):
        make_root(Path("root"), seconds=30.0)
        start.first_block_seconds(Path("root"), Path("warmed"))

    setup_cache.timeout = 600

    def time_help(self):
        start.help_seconds()

    def track_warm_run(self):
        """From the command to the first samples in a file; median of five."""
        found = []
        for _ in range(5):
            shutil.rmtree("output", ignore_errors=True)
            found.append(start.first_block_seconds(Path("root"), Path("output")))
        return median(found)

    track_warm_run.unit = "s"

    def track_cold_run(self):
        """The same with nothing compiled or planned."""
        for folder in ("output", "cache"):
            shutil.rmtree(folder, ignore_errors=True)
        return start.first_block_seconds(Path("root"), Path("output"), cache=Path("cache").absolute())

    track_cold_run.unit = "s"
