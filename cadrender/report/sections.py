"""Numbers and pictures of the page's sections, by the names used in their templates."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from cadrender.metadata.listeners import Listener
from cadrender.report import figures
from cadrender.report.examples import Example
from cadrender.report.levels import FileLevel
from cadrender.report.responses import frequencies, responses
from cadrender.report.survey import Survey
from cadrender.report.wording import decibels, thousands
from cadrender.stems import MIXTURE, VDBO

_MOST_ROWS = 2000
_MOST_CLIPPED = 40
_MOST_MISSING = 300
_MOST_CHIPS = 48
_MOST_ANGLES = 3
_MOST_GAIN = 100.0  # dB


def listen(survey: Survey, examples: Sequence[Example], levels: Sequence[FileLevel]) -> dict[str, Any]:
    """Scenes to look at and listen to."""
    known = {level.sample: level for level in levels if level.stem == MIXTURE}
    lengths = {round(example.seconds, 2) for example in examples if example.at_mic}
    return {
        "cards": [_card(survey, example, known.get(example.sample.name)) for example in examples],
        "how_long": f"{lengths.pop():g} seconds" if len(lengths) == 1 else "seconds",
    }


def _card(survey: Survey, example: Example, level: FileLevel | None) -> dict[str, Any]:
    scene, position = example.scene, example.sample.position
    gains = survey.gains.get(scene.gain)
    heard = [survey.listeners.get(one) for one in survey.scene_listeners.get(scene.id, ())]
    clips = [
        (clip, label) for clip, label in ((example.original, "Original"), (example.at_mic, "At-mic")) if clip
    ]
    peak = max((float(clip.envelope.max(initial=0.0)) for clip, _ in clips), default=0.0)
    return {
        "example": example,
        "position": position,
        "pictures": (figures.top_view(position), figures.gain_bars(gains) if gains else None),
        "clips": [(clip, label, figures.waveform(clip.envelope, peak)) for clip, label in clips],
        "level": level,
        "listeners": [(listener.id, figures.grade_of(listener)) for listener in heard if listener],
    }


def heads(survey: Survey) -> dict[str, Any]:
    """Magnitude responses by angle and subject; delay and level between the ears."""
    rate = survey.settings.sample_rate
    found = responses(survey.hrirs, rate)
    if not found:
        return {"names": []}
    names = list(dict.fromkeys(response.head for response in found))
    bands, limits = frequencies(rate), figures.response_limits(found)
    azimuths = sorted({response.azimuth for response in found})
    left = sum(azimuth < 0 for azimuth in azimuths)
    panels = []
    for azimuth in [
        a for side in (azimuths[:left], azimuths[left:]) for a in figures.thinned(side, _MOST_ANGLES)
    ]:
        group = [response for response in found if response.azimuth == azimuth]
        panels.append((azimuth, figures.response_panel(group, names, bands, limits)))
    individual = [(ear, *figures.individuality(found, names, bands, ear)) for ear in ("near", "far")]
    return {
        "names": names,
        "chips": names if 1 < len(names) <= _MOST_CHIPS else [],
        "hrirs": len(survey.hrirs),
        "angles": len(azimuths),
        "panels": panels,
        "individual": individual if len(names) > 1 else [],
        "delay": figures.interaural(found, names, "delay"),
        "level": figures.interaural(found, names, "level"),
    }


def scenes(survey: Survey) -> dict[str, Any]:
    """The gains and positions of the scenes."""
    gains = [survey.gains[scene.gain] for scene in survey.scenes if scene.gain in survey.gains]
    gains = [gain for gain in gains if all(abs(value) <= _MOST_GAIN for value in gain.values())]
    used = [survey.positions[one.position] for one in survey.scenes if one.position in survey.positions]
    changed = Counter(sum(bool(gain.get(stem)) for stem in VDBO) for gain in gains)
    return {
        "songs": len({scene.music for scene in survey.scenes}),
        "gains": figures.gains_by_stem(gains) if gains else None,
        "with_gains": len(gains),
        "changed": sorted(changed.items()),
        "positions": figures.positions_used(list(survey.positions.values()), used) if used else None,
        "used": len(set(used)),
    }


def listeners(survey: Survey) -> dict[str, Any]:
    """Audiograms, and the severity of hearing losses."""
    drawn = [listener for listener in survey.listeners.values() if _can_be_drawn(listener)]
    if not drawn:
        return {"grades": None}
    return {
        "left_out": len(survey.listeners) - len(drawn),
        "left": figures.audiogram_panel(drawn, "left"),
        "right": figures.audiogram_panel(drawn, "right"),
        "grades": figures.grade_bars(drawn),
    }


def _can_be_drawn(listener: Listener) -> bool:
    levels = (*listener.levels_left, *listener.levels_right)
    return all(-40 <= level <= 160 for level in levels) and all(20 <= f <= 20_000 for f in listener.cfs)


def loudness(levels: Sequence[FileLevel], measured: int) -> dict[str, Any]:
    """Loudness before and after, gains, and clipping; `measured` is how many levels were measured for the page."""
    clipped = sorted((level for level in levels if level.clipped), key=lambda level: -level.clipped)
    if not levels:
        return {"files": 0}
    return {
        "files": len(levels),
        "rows": [_row(level) for level in levels[:_MOST_ROWS]],
        "measured": measured,
        "before_and_after": figures.loudness_strips(levels),
        "gains": figures.gain_strips(levels),
        "silent": Counter(level.stem for level in levels if level.silent),
        "clipped": len(clipped),
        "clipped_values": sum(level.clipped for level in clipped),
        "worst": [
            (
                level.sample,
                level.stem,
                thousands(level.clipped),
                _share(level.clipped / max(2 * level.frames, 1)),
            )
            for level in clipped[:_MOST_CLIPPED]
        ],
    }


def _row(level: FileLevel) -> tuple[str, str, str, str, str, int]:
    gain = "silent" if level.silent else decibels(level.gain_db, sign=True)
    return level.sample, level.stem, decibels(level.before), decibels(level.after), gain, level.clipped


def _share(share: float) -> str:
    return f"{100 * share:.2g} %" if share >= 1e-4 else f"{1e6 * share:.2g} ppm"


def completeness(survey: Survey) -> dict[str, Any]:
    """What is rendered, what is missing, and the root's problems."""
    rows: dict[str, list[tuple[str, str]]] = {"cannot be rendered": [], "incomplete": [], "missing": []}
    for sample in survey.samples.values():
        files = survey.at_mic.get(sample.name)
        if files is None:
            rows["cannot be rendered"].append((sample.name, survey.source_problems[sample.source]))
        elif sample.name not in survey.complete:
            missing = [stem for stem, file in files.items() if file.missing]
            if len(missing) == len(files):
                rows["missing"].append((sample.name, "all files"))
                continue
            wrong = [
                f"{stem}: {file.problem}" for stem, file in files.items() if file.problem and not file.missing
            ]
            lacks = [f"no {', '.join(missing)}"] if missing else []
            rows["incomplete"].append((sample.name, "; ".join(lacks + wrong)))
    listed = [(name, state, why) for state, group in rows.items() for name, why in group]
    folder, root, split = survey.settings.output_music_dir, survey.settings.root, survey.settings.split
    return {
        "rows": listed[:_MOST_MISSING],
        "lacking": len(listed),
        "done": len(survey.complete),
        "broken": len(rows["incomplete"]),
        "missing": len(listed) - len(rows["incomplete"]),
        "command": f"cadrender generate --root {root}" + (f" --split {split}" if split != "train" else ""),
        "songs": list(dict.fromkeys(survey.source_problems.values())),
        "folder": (folder.relative_to(root) if folder.is_relative_to(root) else folder).as_posix(),
    }
