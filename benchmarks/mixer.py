"""What ``cadrender remix`` costs beside merely reading and writing the same bytes: ``python -m benchmarks.mixer``.

One worker, files in the page cache. For each scene five at-mic files are read and one target is written. *Copy* reads
and writes as many bytes by system calls of 256 KiB, *soundfile* reads and writes as many samples; the reference is
NumPy, SciPy and pyloudnorm.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import soundfile
from cadrender.jobs.mix import MixJob, run_mix_job
from cadrender.jobs.remix import Mixing
from cadrender.jobs.remix_plan import RemixPlan, make_remix_plan
from cadrender.jobs.stem import run_stem_job

from benchmarks import reference
from benchmarks.interleaved import medians, timed
from benchmarks.machine import describe
from benchmarks.markdown import table
from benchmarks.roots import make_places, make_root, plan_of
from cadrender.config import load_settings
from cadrender.demo.listeners import make_listeners
from cadrender.metadata import generate_scene_listeners, listeners_json, scene_listeners_json, write_json

_PIECE = 256 * 1024


def mix_plan(root: Path, output: Path, **options) -> RemixPlan:
    """The plan of a root's targets, with the folders that it needs."""
    settings = load_settings(
        root=root,
        output_music_dir=root / "at_mic" / "at_mic_music",
        output_remix_dir=output / "remix",
        output_remix_listeners_dir=output / "remix_listeners",
        output_remix_file=output / "remix.json",
    )
    plan = make_remix_plan(settings, **options)
    Mixing(plan).begin()
    return plan


def _empty(jobs):
    """A file that is replaced costs more than a new one."""
    for job in jobs:
        for target in job.targets:
            target.file.unlink(missing_ok=True)


def _mix(jobs: list[MixJob]) -> None:
    for job in jobs:
        report = run_mix_job(job)
        if report.error:
            raise RuntimeError(report.error)


def _copy(jobs: list[MixJob], place: Path) -> None:
    piece = bytearray(_PIECE)
    for job in jobs:
        with place.open("wb", buffering=0) as target:
            for part in job.parts:
                with part.stored[0].open("rb", buffering=0) as source:
                    while count := source.readinto(piece):
                        if part is job.parts[-1]:
                            target.write(memoryview(piece)[:count])
        place.unlink()


def _soundfile(jobs: list[MixJob], place: Path) -> None:
    for job in jobs:
        for part in job.parts:
            samples, samplerate = soundfile.read(part.stored[0], dtype="int16")
        soundfile.write(place, samples, samplerate, subtype="PCM_16")
        place.unlink()


def _reference(jobs: list[MixJob], place: Path) -> None:
    for job in jobs:
        signals = {part.stem: soundfile.read(part.stored[0], dtype="int16")[0] for part in job.parts}
        gains = dict(zip(signals, job.targets[0].gains_db, strict=False))
        target = reference.remix(signals, gains, signals["mixture"], job.samplerate)
        soundfile.write(place, target, job.samplerate, subtype="PCM_16")
        place.unlink()


def measure(root: Path, repeats: int) -> dict[str, float]:
    """Nanoseconds per frame of each contender, and of amplifying for two listeners a scene."""
    stems = plan_of(root, root / "at_mic")
    make_places(stems.jobs)
    for job in stems.jobs:
        run_stem_job(job)
    scenes = [scene.id for scene in mix_plan(root, root / "out").scenes]
    listeners = make_listeners()
    pairs = generate_scene_listeners(scenes, [listener.id for listener in listeners], 2)
    write_json(root / "metadata/listeners.train.json", listeners_json(listeners))
    write_json(root / "metadata/scene_listeners.train.json", scene_listeners_json(pairs))
    jobs = mix_plan(root, root / "out").jobs
    amplified = mix_plan(root, root / "amplified", listeners=True).jobs
    place = root / "copy.wav"

    def mixing(which):
        seconds = timed(lambda: _mix(which))

        def run():
            _empty(which)
            return seconds()

        return run

    contenders = {
        "remix": mixing(jobs),
        "remix --listeners, three files a scene": mixing(amplified),
        "copy": timed(lambda: _copy(jobs, place)),
        "soundfile": timed(lambda: _soundfile(jobs, place)),
    }
    for run in contenders.values():
        run()
    found = medians(contenders, repeats) | medians({"reference": timed(lambda: _reference(jobs, place))}, 1)
    frames = sum(job.frames for job in jobs)
    return {name: 1e9 * seconds / frames for name, seconds in found.items()}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="length of a song")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cadrender-mixer-"))
    try:
        root = make_root(folder / "root", songs=2, seconds=arguments.seconds)
        found = measure(root, arguments.repeats)
        rows = [
            (name, f"{ns:.1f}", f"{ns / found['copy']:.2f}", f"{ns / found['soundfile']:.2f}")
            for name, ns in found.items()
        ]
        print(table(("one worker", "ns per frame", "of copy", "of soundfile"), rows))
        print(describe(folder))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
