"""The cost of ``cadrender remix`` beside merely reading and writing the same bytes: ``python -m benchmarks.mixer``.

One worker, files in the page cache. For each scene five at-mic files are read and one target is written. *Copy* reads
and writes as many bytes with system calls of 256 KiB, *soundfile* reads and writes as many samples; the reference is
NumPy, SciPy and pyloudnorm.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soundfile

from benchmarks import markdown, reference, script
from benchmarks.machine import medians, timed
from benchmarks.roots import make_places, make_root, plan_of
from cadrender.catalogue.output import Batch
from cadrender.catalogue.targets import TargetCatalogue
from cadrender.config import load_settings
from cadrender.demo.listeners import make_listeners
from cadrender.metadata.listeners import listeners_json
from cadrender.metadata.scenes import generate_scene_listeners, scene_listeners_json
from cadrender.metadata.writing import write_json
from cadrender.pipeline.commit import run_batch
from cadrender.pipeline.plan import Plan, make_plan
from cadrender.signals.target import Target

_PIECE = 256 * 1024


def mix_plan(root: Path, output: Path, **options: Any) -> Plan:
    """The plan of a root's targets, with the folders it needs."""
    settings = load_settings(
        root=root,
        output_music_dir=root / "at_mic" / "at_mic_music",
        output_remix_dir=output / "remix",
        output_remix_listeners_dir=output / "remix_listeners",
        output_remix_file=output / "remix.json",
    )
    plan = make_plan(TargetCatalogue(settings, **options))
    make_places(plan.batches)
    return plan


def _parts(batch):
    """The at-mic stems a batch is mixed from."""
    return batch.outputs[0].signal.parts


def _empty(batches):
    """Remove the outputs: replacing a file costs more than creating one."""
    for batch in batches:
        for output in batch.outputs:
            output.file.unlink(missing_ok=True)


def _mix(batches: list[Batch]) -> None:
    for batch in batches:
        report = run_batch(batch)
        if report.error:
            raise RuntimeError(report.error)


def _copy(batches: list[Batch], place: Path) -> None:
    piece = bytearray(_PIECE)
    for batch in batches:
        parts = _parts(batch)
        with place.open("wb", buffering=0) as target:
            for part in parts:
                with part.files[0].open("rb", buffering=0) as source:
                    while count := source.readinto(piece):
                        if part is parts[-1]:
                            target.write(memoryview(piece)[:count])
        place.unlink()


def _soundfile(batches: list[Batch], place: Path) -> None:
    for batch in batches:
        for part in _parts(batch):
            samples, samplerate = soundfile.read(part.files[0], dtype="int16")
        soundfile.write(place, samples, samplerate, subtype="PCM_16")
        place.unlink()


def _reference(batches: list[Batch], place: Path) -> None:
    for batch in batches:
        parts = _parts(batch)
        signals = {part.stem: soundfile.read(part.files[0], dtype="int16")[0] for part in parts}
        target_signal = batch.outputs[0].signal
        assert isinstance(target_signal, Target)
        gains = dict(zip(signals, target_signal.gains_db, strict=False))
        target = reference.remix(signals, gains, signals["mixture"], parts[0].samplerate)
        soundfile.write(place, target, parts[0].samplerate, subtype="PCM_16")
        place.unlink()


def measure(root: Path, repeats: int) -> dict[str, float]:
    """Nanoseconds per frame of each contender, and of amplifying for two listeners per scene."""
    plan_of(root, root / "at_mic").run(1)
    catalogue = mix_plan(root, root / "out").shares[0].catalogue
    assert isinstance(catalogue, TargetCatalogue)
    scenes = [scene.id for scene in catalogue.scenes]
    listeners = make_listeners()
    pairs = generate_scene_listeners(scenes, [listener.id for listener in listeners], 2)
    write_json(root / "metadata/listeners.train.json", listeners_json(listeners))
    write_json(root / "metadata/scene_listeners.train.json", scene_listeners_json(pairs))
    batches = mix_plan(root, root / "out").batches
    amplified = mix_plan(root, root / "amplified", listeners=True).batches
    place = root / "copy.wav"

    def mixing(which):
        seconds = timed(lambda: _mix(which))

        def run():
            _empty(which)
            return seconds()

        return run

    contenders = {
        "remix": mixing(batches),
        "remix --listeners, three files a scene": mixing(amplified),
        "copy": timed(lambda: _copy(batches, place)),
        "soundfile": timed(lambda: _soundfile(batches, place)),
    }
    for run in contenders.values():
        run()
    found = medians(contenders, repeats) | medians(
        {"reference": timed(lambda: _reference(batches, place))}, 1
    )
    frames = sum(_parts(batch)[0].frames for batch in batches)
    return {name: 1e9 * seconds / frames for name, seconds in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write into documents on request."""
    options = script.parser(__doc__, repeats=9, tables=True)
    options.add_argument("--seconds", type=float, default=60.0, help="length of a song")
    given = script.parse(options, arguments, repeats=1, seconds=5.0)
    with script.workplace(given.folder) as folder:
        found = measure(make_root(folder / "root", songs=2, seconds=given.seconds), given.repeats)
        conditions = script.conditions(
            folder,
            "mixer",
            f"Songs: 2 of {given.seconds:.0f} s, 4 scenes a song; one worker, files in the page cache; medians of "
            f"{given.repeats} interleaved rounds.",
        )
    rows = [
        (name, f"{ns:.1f}", f"{ns / found['copy']:.2f}", f"{ns / found['soundfile']:.2f}")
        for name, ns in found.items()
    ]
    table = markdown.table(("one worker", "ns per frame", "of copy", "of soundfile"), rows)
    script.publish({"mixer table": f"{table}\n\n{conditions}"}, given.write)


if __name__ == "__main__":
    main()
