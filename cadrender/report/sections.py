"""The sections of the page: what was found, in words, pictures and sound."""

import math
from collections import Counter
from collections.abc import Sequence

from cadrender.jobs.progress import duration
from cadrender.metadata import on_median_plane
from cadrender.report import figures
from cadrender.report.diagrams import gain_bars, top_view, waveform
from cadrender.report.examples import Example, shorten
from cadrender.report.levels import FileLevel
from cadrender.report.markup import Html, code, el, join, name
from cadrender.report.responses import frequencies, responses
from cadrender.report.survey import Survey
from cadrender.stems import MIXTURE, VDBO

_MOST_ROWS = 2000
_MOST_CLIPPED = 40
_MOST_MISSING = 300
_MOST_CHIPS = 48
_MOST_ANGLES = 3
_MOST_GAIN = 100.0  # dB

# A narrow space between thousands, at which no line ends.
_GAP = "\u202f"


def thousands(count: int) -> str:
    """A number to be read: ``12 345``."""
    return f"{count:,}".replace(",", _GAP)


def counted(count: int, what: str) -> str:
    """A number and its noun: ``1 scene``, ``4 scenes``."""
    return f"{thousands(count)} {what}{'s' * (count != 1)}"


def size(count: int) -> str:
    """Bytes to be read."""
    for unit, step in (("GB", 1e9), ("MB", 1e6)):
        if count >= step:
            return f"{count / step:.3g} {unit}"
    return f"{count / 1e3:.0f} kB"


def decibels(value: float, unit: str = "") -> str:
    """A level with its sign in typography: ``−16.2 LUFS``."""
    if math.isinf(value):
        return "−∞" + (f" {unit}" if unit else "")
    text = f"{value:+.1f}" if unit == "dB" else f"{value:.1f}"
    text = text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")
    return text + (f" {unit}" if unit else "")


def section(key: str, title: str, lede, *content) -> Html:
    """One of the page's sections; `key` is its anchor."""
    return el(
        "section",
        el("h2", title, id=f"{key}-title"),
        el("p", lede, cls="lede"),
        *content,
        id=key,
        aria_labelledby=f"{key}-title",
    )


def figure(picture: Html, caption="", title="") -> Html:
    """A picture with its title above and what it tells below."""
    return el(
        "figure",
        el("h4", title) if title else None,
        picture,
        el("figcaption", caption) if caption else None,
    )


def lacking(*sentences) -> Html:
    """Says why a section has nothing to show."""
    return el("p", el("span", *sentences), cls="status lacking")


def table(caption: str, columns: Sequence[str], rows, numbers: int = 0) -> Html:
    """A table whose last columns, as many as `numbers`, hold numbers."""
    first = len(columns) - numbers
    head = [
        el("th", text, scope="col", cls="number" if k >= first else None) for k, text in enumerate(columns)
    ]
    body = [
        el(
            "tr",
            [
                el("th", cell, scope="row")
                if k == 0
                else el("td", cell, cls="number" if k >= first else None)
                for k, cell in enumerate(row)
            ],
        )
        for row in rows
    ]
    return el(
        "div",
        el("table", el("caption", caption), el("thead", el("tr", head)), el("tbody", body)),
        cls="table tall" if len(body) > 14 else "table",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def examples_section(survey: Survey, examples: Sequence[Example], levels: Sequence[FileLevel]) -> Html:
    """Chosen scenes, to be seen and heard."""
    if not examples:
        why = "There are no scenes to listen to yet." if not survey.scenes else "No scenes were chosen."
        return section("listen", "Listen", "The song, and what the microphones pick up of it.", lacking(why))
    lengths = {round(example.seconds, 2) for example in examples if example.original}
    how_long = f"{lengths.pop():g} seconds" if len(lengths) == 1 else "seconds"
    lede = [
        f"{counted(len(examples), 'scene')} of {len(survey.scenes)}, the loudest {how_long} of each: "
        "the song as it is on disk, and what the microphones at a head’s ears pick up of it between two loudspeakers. "
        "Both are lossless. Use headphones, and switch while it plays.",
    ]
    known = {(level.sample, level.stem): level for level in levels}
    cards = [scene_card(survey, example, known) for example in examples]
    return section("listen", "Listen", lede, el("div", cards, cls="scenes"))


def scene_card(survey: Survey, example: Example, known) -> Html:
    """One scene: heads, loudspeakers, gains, sound."""
    scene, position = example.scene, example.sample.position
    gains = survey.gains.get(scene.gain)
    facts = join(name(scene.id), " · ", name(position.subject), " (", name(position.mic), ") · ")
    facts = join(facts, name(position.id), " · ", name(scene.gain))
    pictures = [
        figure(top_view(position)),
        figure(gain_bars(gains), "Gains to be mixed, dB")
        if gains
        else lacking("No gains ", name(scene.gain), "."),
    ]
    return el(
        "article",
        el("h3", name(scene.music)),
        el("p", facts),
        el("div", pictures, cls="pictures"),
        _player(example) if example.original else el("p", "No sound: ", example.problem, cls="silent-note"),
        _numbers(survey, example, known.get((example.sample.name, MIXTURE))),
        cls="scene",
    )


def _numbers(survey, example, level):
    rows = []
    if level:
        change = (
            f"{decibels(level.before)} → {decibels(level.after)} LUFS, then {decibels(level.gain_db, 'dB')}"
        )
        rows.append(("Loudness", change))
    if example.original:
        where = "rendered for this page" if example.rendered else "from the at-mic file"
        begins = f"from {duration(example.start)} on" if example.start else "from the beginning"
        rows.append(("Excerpt", f"{begins}, {where}"))
    heard = [survey.listeners.get(one) for one in survey.scene_listeners.get(example.scene.id, ())]
    if heard := [listener for listener in heard if listener]:
        people = []
        for listener in heard[:6]:
            grade = figures.grade_of(listener)
            people += [", " if people else "", name(listener.id), f" ({grade})" if grade else ""]
        if len(heard) > 6:
            people.append(f" and {len(heard) - 6} more")
        rows.append(("Heard by", join(*people)))
    return (
        el("dl", [[el("dt", term), el("dd", what)] for term, what in rows], cls="numbers") if rows else None
    )


def _player(example):
    clips = ((example.original, "Original", "first"), (example.at_mic, "At-mic", "second"))
    peak = max(float(clip.envelope.max(initial=0.0)) for clip, _, _ in clips)
    icons = [
        el("svg", el("path", d="M7 4.5v15l13-7.5z"), viewBox="0 0 24 24", aria_hidden="true", cls="go"),
        el(
            "svg",
            el("path", d="M6 5h4v14H6zM14 5h4v14h-4z"),
            viewBox="0 0 24 24",
            aria_hidden="true",
            cls="pause",
        ),
    ]
    parts = [el("button", icons, type="button", cls="play ui", aria_label="Play")]
    parts += [
        el("button", label, type="button", cls=f"choice ui {order}", aria_pressed="false")
        for _, label, order in clips
    ]
    seek = el("input", type="range", min="0", max="1", step="any", value="0", cls="seek", aria_label="Place")
    waves = [waveform(clip.envelope, peak, order) for clip, _, order in clips]
    parts.append(el("div", waves, el("span", cls="head-line"), seek, cls="waves ui"))
    time = [el("span", "0:00", cls="now"), el("span", cls="length")]
    parts.append(el("div", time, cls="time ui"))
    for clip, label, _ in clips:
        about = f"{label}: {example.scene.music}"
        parts.append(el("audio", src=clip.uri, controls=True, preload="auto", aria_label=about))
    return el("div", parts, cls="player", role="group", aria_label=f"Player: {example.scene.music}")


def heads_section(survey: Survey) -> Html:
    """Magnitude responses by angle and subject; delay and level between the ears."""
    rate = survey.settings.sample_rate
    found = responses(survey.hrirs, rate)
    title = "Heads"
    if not found:
        return section("heads", title, "Head-related impulse responses.", lacking("No HRIR can be read."))
    heads = list(dict.fromkeys(response.head for response in found))
    bands = frequencies(rate)
    limits = figures.response_limits(found)
    azimuths = sorted({response.azimuth for response in found})
    shown = []
    for side in (-1, 1):
        shown += _spread([azimuth for azimuth in azimuths if (azimuth >= 0) == (side > 0)], _MOST_ANGLES)
    panels = []
    for azimuth in shown:
        group = [response for response in found if response.azimuth == azimuth]
        ear = "left" if azimuth < 0 else "right"
        if on_median_plane(azimuth):
            where = f"Straight {'behind' if azimuth else 'ahead'}"
            ears = "right ear red, left ear blue"
        else:
            where, ears = f"{ear.capitalize()} loudspeaker", f"near: {ear} ear"
        heading = join(f"{where}, {abs(azimuth):g}° ", el("small", ears))
        panels.append(figure(figures.response_panel(group, heads, bands, limits), title=heading))
    lede = (
        f"{counted(len(found), 'HRIR')} of {counted(len(heads), 'head')}: how much of each loudspeaker’s sound reaches "
        "the ear on its side and, in the head’s shadow, the other one. 0 dB leaves a level as it is."
    )
    keys = [
        el("span", "ear near the loudspeaker", cls="key warm"),
        el("span", "ear in the head’s shadow", cls="key cool"),
        el("span", "one head", cls="key thin") if len(heads) > 1 else None,
        el("span", "median", cls="key") if len(heads) > 1 else None,
    ]
    if len(shown) < len(azimuths):
        keys.append(el("span", f"{len(shown)} of {len(azimuths)} angles shown"))
    parts = [el("div", keys, cls="keys"), _chips(heads), el("div", panels, cls="grid three")]
    if len(heads) > 1:
        parts.append(el("div", _individuals(found, heads, bands), cls="grid two"))
    between = [
        figure(
            figures.interaural(found, heads, "delay"),
            "How much later sound reaches the far ear: the more, the further aside the loudspeaker and the wider "
            "the head. From the correlation of the ears below 3 kHz.",
            "Delay between the ears",
        ),
        figure(
            figures.interaural(found, heads, "level"),
            "How much more energy the near ear gets, all frequencies together.",
            "Level between the ears",
        ),
    ]
    parts.append(el("div", between, cls="grid two"))
    return section("heads", title, lede, *parts)


def _spread(values, most):
    """At most so many of the values, the first and the last among them."""
    if len(values) <= most:
        return values
    return [values[round(k * (len(values) - 1) / (most - 1))] for k in range(most)]


def _chips(heads):
    if not 1 < len(heads) <= _MOST_CHIPS:
        return None
    buttons = [
        el("button", name(head), type="button", data_pick=k, aria_pressed="false")
        for k, head in enumerate(heads)
    ]
    return el("fieldset", el("legend", "Highlight one head"), buttons, cls="chips")


def _individuals(found, heads, bands):
    parts = []
    for ear, where in (("near", "near ear"), ("far", "far ear")):
        picture, span = figures.individuality(found, heads, bands, ear)
        caption = (
            "Each head’s difference from the median of all heads, mean over the loudspeakers. "
            "What they have in common is blank."
        )
        scale = el("div", f"−{span:g} dB", el("i"), f"+{span:g} dB", cls="scale")
        parts.append(el("div", figure(picture, caption, f"What is individual: {where}"), scale))
    return parts


def scenes_section(survey: Survey) -> Html:
    """Which gains and which positions the scenes use."""
    scenes = survey.scenes
    if not scenes:
        return section(
            "scenes", "Scenes", "Which gains and which positions are drawn.", lacking("No scenes yet.")
        )
    gains = [survey.gains[scene.gain] for scene in scenes if scene.gain in survey.gains]
    gains = [gain for gain in gains if all(abs(value) <= _MOST_GAIN for value in gain.values())]
    used = [survey.positions[scene.position] for scene in scenes if scene.position in survey.positions]
    songs = len({scene.music for scene in scenes})
    lede = (
        f"{counted(len(scenes), 'scene')} of {counted(songs, 'song')}: a head, two loudspeakers, and a gain for "
        "each stem. The gains are for the mix that is made of the at-mic files; they are not in them."
    )
    parts = []
    if gains:
        changed = Counter(sum(bool(gain.get(stem)) for stem in VDBO) for gain in gains)
        words = ["no stem", "one stem", "two stems", "three stems", "all four stems"]
        listed = ", ".join(f"{changed[k]} change {words[k]}" for k in sorted(changed))
        caption = f"Number of scenes that change a stem by so much. Of {len(gains)} scenes, {listed}."
        parts.append(figure(figures.gains_by_stem(gains), caption, "Gains"))
    if used:
        caption = (
            f"Number of scenes for each head and pair of loudspeakers: {len(set(used))} of {len(survey.positions)} "
            "positions are used."
        )
        picture = figures.positions_used(list(survey.positions.values()), used)
        parts.append(figure(picture, caption, "Heads and loudspeakers"))
    if not parts:
        parts.append(lacking("Neither gains nor positions can be read."))
    return section("scenes", "Scenes", lede, el("div", parts, cls="grid two"))


def listeners_section(survey: Survey) -> Html:
    """Audiograms and how severe the hearing losses are."""
    listeners = [listener for listener in survey.listeners.values() if _can_be_drawn(listener)]
    lede = "Whose hearing the mixes are made for."
    if not listeners:
        return section("listeners", "Listeners", lede, lacking("No listeners can be read."))
    lede = (
        f"{counted(len(survey.listeners), 'listener')}: the softest tone that each ear hears, by frequency. Lower in "
        "the picture is more hearing loss; colour is the World Health Organization’s grade for the better ear."
    )
    if strange := len(survey.listeners) - len(listeners):
        lede += f" {counted(strange, 'audiogram')} with levels that no ear has are left out."
    panels = [
        figure(figures.audiogram_panel(listeners, "left"), title="Left ear"),
        figure(figures.audiogram_panel(listeners, "right"), title="Right ear"),
        figure(
            figures.grade_bars(listeners),
            "Mean threshold at 0.5, 1, 2 and 4 kHz of the better ear, graded as in the World report on hearing "
            "(2021). The bold line in the audiograms is the median.",
            "Grades",
        ),
    ]
    return section("listeners", "Listeners", lede, el("div", panels, cls="grid three"))


def _can_be_drawn(listener):
    levels = (*listener.levels_left, *listener.levels_right)
    return all(-40 <= level <= 160 for level in levels) and all(20 <= f <= 20_000 for f in listener.cfs)


def levels_section(survey: Survey, levels: Sequence[FileLevel], measured: int) -> Html:
    """Loudness before and after, the gains between, and clipping."""
    title = "Loudness"
    if not levels:
        lede = "Every at-mic file is brought to the loudness of its own source."
        return section("loudness", title, lede, lacking("Nothing is rendered yet, and nothing was measured."))
    files = counted(len(levels), "file")
    whence = (
        f"measured for this page on {files} of the scenes above"
        if measured == len(levels)
        else f"of {files}, as the manifest has them"
        + (f"; {measured} measured for this page" if measured else "")
    )
    lede = (
        "A head makes music softer or louder, each stem in its own way. Every at-mic file is then brought to the "
        f"loudness of its own source (ITU-R BS.1770-4). Levels {whence}."
    )
    keys = [
        el("span", "song’s stem", cls="key cool"),
        el("span", "at the microphones, before the gain", cls="key warm"),
    ]
    pictures = [
        figure(
            figures.loudness_strips(levels),
            "A dot for each file, a bar at the median.",
            "Loudness before and after the HRIRs",
        ),
        figure(
            figures.gain_strips(levels),
            "What makes up for the head: right of zero the HRIRs had made the stem softer.",
            "Gain applied",
        ),
    ]
    silent = [level for level in levels if level.silent]
    notes = []
    if silent:
        stems = Counter(level.stem for level in silent)
        which = ", ".join(f"{count} {stem}" for stem, count in stems.items())
        notes.append(f"Digital silence, because the sources are: {which}.")
    return section(
        "loudness",
        title,
        lede,
        el("div", keys, cls="keys"),
        el("div", pictures, cls="grid two"),
        el("p", *notes, cls="lede") if notes else None,
        _clipping(levels),
        _all_levels(levels),
    )


def _clipping(levels):
    clipped = sorted((level for level in levels if level.clipped), key=lambda level: -level.clipped)
    if not clipped:
        return el("p", f"No sample is clipped in {counted(len(levels), 'file')}.", cls="status")
    total = sum(level.clipped for level in clipped)
    rows = [
        (name(level.sample), level.stem, thousands(level.clipped), _share(level))
        for level in clipped[:_MOST_CLIPPED]
    ]
    more = f", the worst {len(rows)} of them below" if len(rows) < len(clipped) else ""
    return join(
        lacking(
            f"{counted(total, 'sample')} clipped in {len(clipped)} of {counted(len(levels), 'file')}{more}."
        ),
        table("Clipped files", ("Sample", "Stem", "Clipped samples", "Share"), rows, numbers=2),
    )


def _share(level):
    share = level.clipped / max(2 * level.frames, 1)
    return f"{100 * share:.2g} %" if share >= 1e-4 else f"{1e6 * share:.2g} ppm"


def _all_levels(levels):
    rows = [
        (
            name(level.sample),
            level.stem,
            decibels(level.before),
            decibels(level.after),
            "silent" if level.silent else decibels(level.gain_db, "dB").removesuffix(" dB"),
            level.clipped,
        )
        for level in levels[:_MOST_ROWS]
    ]
    columns = ("Sample", "Stem", "Before (LUFS)", "After HRIRs (LUFS)", "Gain (dB)", "Clipped")
    more = f" (the first {_MOST_ROWS})" if len(levels) > _MOST_ROWS else ""
    return el(
        "details",
        el("summary", f"All {counted(len(levels), 'file')}{more}"),
        table("Levels of every file", columns, rows, numbers=4),
    )


def completeness_section(survey: Survey) -> Html:
    """What is rendered, what is missing, and what is wrong with the root."""
    samples = list(survey.samples.values())
    rows, broken = [], 0
    for sample in samples:
        if sample.name in survey.complete:
            continue
        files = survey.at_mic.get(sample.name)
        if files is None:
            rows.append((sample.name, "cannot be rendered", survey.source_problems[sample.source]))
            continue
        missing = [stem for stem, file in files.items() if file.missing]
        wrong = [
            f"{stem}: {file.problem}" for stem, file in files.items() if file.problem and not file.missing
        ]
        broken += len(missing) < len(files)
        state = "missing" if len(missing) == len(files) else "incomplete"
        lacks = ["all files" if state == "missing" else f"no {', '.join(missing)}"] if missing else []
        rows.append((sample.name, state, "; ".join(lacks + wrong)))
    done = len(samples) - len(rows)
    # What is merely missing comes last.
    rows.sort(key=lambda row: ("cannot be rendered", "incomplete", "missing").index(row[1]))
    rows = [(name(sample), *rest) for sample, *rest in rows]
    parts = []
    if samples:
        parts.append(_meter(done, broken, len(samples)))
    if rows:
        more = f"; the first {_MOST_MISSING} are listed" if len(rows) > _MOST_MISSING else ""
        caption = f"{counted(len(rows), 'sample')} of {len(samples)} not complete{more}"
        parts.append(table(caption, ("Sample", "State", "Files"), rows[:_MOST_MISSING]))
        command = f"cadrender generate --root {survey.settings.root}"
        if survey.settings.split != "train":
            command += f" --split {survey.settings.split}"
        parts.append(el("p", code(command), " renders what is missing, and nothing else.", cls="lede"))
    elif samples:
        parts.append(el("p", f"All {counted(len(samples), 'sample')} are complete.", cls="status"))
    songs = [el("li", problem) for problem in survey.source_problems.values()]
    problems = [
        el(
            "li",
            problem.what,
            el("span", code(problem.remedy), " makes it.") if problem.remedy else None,
        )
        for problem in survey.problems
    ]
    if songs or problems:
        parts.append(el("h3", "What is wrong", style="margin-top: 2rem"))
        parts.append(el("ul", problems, songs[:_MOST_MISSING], cls="problems"))
    lede = f"At-mic files in {shorten(survey.settings.output_music_dir, survey.settings.root)}, looked at one by one."
    return section("completeness", "Completeness", lede, *parts)


def _meter(done, broken, total):
    missing = total - done - broken
    bars = [
        el("span", cls=kind, style=f"flex: {count}")
        for kind, count in (("done", done), ("broken", broken), ("missing", missing))
        if count
    ]
    words = f"{done} complete, {broken} incomplete, {missing} missing or not to be rendered"
    return join(
        el("div", bars, cls="meter", role="img", aria_label=f"Of {total} samples, {words}"),
        el("p", words, cls="note") if done < total else None,
    )


def facts(survey: Survey) -> Html:
    """The page's first numbers."""
    heads = {name.rsplit("-", 1)[0] for name in survey.hrirs}
    rendered = [f"{len(survey.complete)} ", el("small", f"of {len(survey.samples)}")]
    excerpts = any(sample.frames for sample in survey.samples.values())
    sources = len(survey.sources)
    what = "excerpt" if excerpts else "song"
    items = [
        (sources, f"{what}{'s' * (sources != 1)}, {duration(survey.seconds)}"),
        (len(heads), f"head{'s' * (len(heads) != 1)}, {counted(len(survey.hrirs), 'HRIR')}"),
        (len(survey.scenes), f"scene{'s' * (len(survey.scenes) != 1)}"),
        (rendered, f"samples rendered, {size(survey.bytes)}"),
        (len(survey.listeners), f"listener{'s' * (len(survey.listeners) != 1)}"),
    ]
    return el("dl", [el("div", el("dt", what), el("dd", number)) for number, what in items], cls="facts")


def status(survey: Survey) -> Html:
    """One line: whether all is there."""
    missing = len(survey.samples) - len(survey.complete)
    wrong = len(survey.problems) + len(survey.source_problems)
    if not missing and not wrong and survey.samples:
        return el("p", "Everything that the scenes name is rendered.", cls="status")
    words = []
    if missing:
        words.append(f"{counted(missing, 'sample')} of {len(survey.samples)} not rendered")
    if not survey.samples:
        words.append("no scenes that could be rendered")
    if wrong:
        words.append(f"{counted(wrong, 'file')} missing or unusable")
    text = ", ".join(words)
    return el(
        "p",
        el("span", text[0].upper() + text[1:], ": ", el("a", "see below", href="#completeness"), "."),
        cls="status lacking",
    )
