"""The demo's songs: their scores. Four tunes, each in its own key, tempo and style.

Steps of a pattern are sixteenths. Drums: a digit is a stroke's strength. Bass: ``R`` root, ``5`` fifth,
``8`` octave, ``A`` a half-tone below the next root, ``x`` a damped ghost of the root. Comping: ``X``, ``x``
strike the chord, loud or soft; ``a`` to ``d`` pluck one of its voices from the lowest up. ``.`` goes on.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Section:
    """Some bars of a song: chords, tunes, and what each player repeats bar by bar.

    Attributes
    ----------
    chords : str
        Symbols, bars parted by ``|``.
    melody, lyrics : str
        The singer's part; empty where nobody sings.
    tune : str
        The melody of the instrument named by ``Song.soloist``.
    drums, comping : dict[str, str]
        Instrument to step pattern.
    fill, entry : dict[str, str]
        ``fill`` replaces ``drums`` in the last bar; ``entry`` joins them in the first.
    bass : str
        Step pattern; empty where the bass rests.
    harmony : str
        A second voice under the melody.
    """

    chords: str
    melody: str = ""
    lyrics: str = ""
    tune: str = ""
    drums: dict[str, str] = field(default_factory=dict)
    fill: dict[str, str] = field(default_factory=dict)
    entry: dict[str, str] = field(default_factory=dict)
    bass: str = ""
    comping: dict[str, str] = field(default_factory=dict)
    harmony: str = ""


@dataclass(frozen=True)
class Channel:
    """An instrument's place in the mix: loudness, position from -1 to 1, and how much room it gets."""

    gain: float
    pan: float = 0.0
    room: float = 0.15


@dataclass(frozen=True)
class Song:
    """A score with all that is needed to play it.

    ``levels`` are the stems' root mean squares before mastering; a stem that is not named there is silent.
    ``fade`` is the length of the fade-out at the end, in seconds.
    """

    name: str
    genre: str
    key: str
    tempo: float
    beats_per_bar: int
    sections: tuple[Section, ...]
    channels: dict[str, Channel]
    levels: dict[str, float]
    bass: str
    swing: float = 0.5
    swing_unit: float = 0.25
    register: str = "high"
    soloist: str = ""
    hall: float = 1.6
    lowest_voice: int = 53
    ring: float = 1.0
    pumping: float = 0.0
    fade: float = 2.5


_POP_BEAT = {"kick": "9.....6.8.......", "snare": "....8.......8...", "hat": "7.4.6.4.7.4.6.5."}
_POP_CHORUS = {
    "kick": "9.....7.9.5.....",
    "snare": "....9.......9..2",
    "open_hat": "6...6...6...6...",
    "hat": "..4...4...4...4.",
}

HARBOUR_LIGHTS = Song(
    name="Ada & the Lanterns - Harbour Lights",
    genre="Pop",
    key="D major",
    tempo=102,
    beats_per_bar=4,
    bass="electric_bass",
    register="high",
    hall=1.7,
    lowest_voice=54,
    sections=(
        Section(
            chords="D | Gmaj7",
            comping={"steel_guitar": "a.b.c.d.c.b.c.b."},
        ),
        Section(
            chords="D | A/C# | Bm7 | Gadd9",
            melody="- .5 F#4 .5 F#4 .5 G4 .5 A4 1 F#4 1 | E4 1.5 C#4 .5 E4 1 - 1 |"
            "- .5 D4 .5 E4 .5 F#4 .5 B4 1 A4 1 | G4 1 F#4 .5 D4 1.5 - 1",
            lyrics="so me di la no va  la ro ma  wa li ne do ra  la ni yo",
            drums=_POP_BEAT | {"snare": "................", "sidestick": "....7.......7..3"},
            fill=_POP_BEAT | {"snare": "....7.......5.68", "tom": "..........7....."},
            bass="R.....R...R...A.",
            comping={"steel_guitar": "a.b.c.d.c.b.c.b.", "electric_piano": "x.........x....."},
        ),
        Section(
            chords="G | D/F# | Em7 | A",
            melody="B4 1.5 A4 .5 B4 1 D5 1 | A4 2 F#4 1 - .5 F#4 .5 |"
            "G4 1 A4 .5 B4 1 G4 .5 A4 1 | C#5 1 B4 .5 A4 1.5 - 1",
            lyrics="la ho na me  do ra  so li ha ro ma le  wa na yo",
            harmony="G4 1.5 F#4 .5 G4 1 B4 1 | F#4 2 D4 1 - .5 D4 .5 |"
            "E4 1 F#4 .5 G4 1 E4 .5 F#4 1 | A4 1 G4 .5 E4 1.5 - 1",
            drums=_POP_CHORUS,
            entry={"crash": "7..............."},
            fill=_POP_CHORUS | {"snare": "....9.......9.79", "tom": "..........8.9..."},
            bass="R.R.R.R.5.R.R.A.",
            comping={
                "pad": "X...............",
                "electric_piano": "X.....x...x.....",
                "steel_guitar": "X...x.x...x.X.x.",
            },
        ),
        Section(
            chords="G | Gm6 | D",
            melody="B4 1.5 A4 .5 G4 2 | A#4 2 A4 1 G4 1 | F#4 3 - 1",
            lyrics="la ho na  ho ra lo na",
            drums={"kick": "9...............", "hat": "6...4...5...4..."},
            fill={"kick": "8...............", "crash": "5..............."},
            bass="R...............",
            comping={"pad": "X...............", "steel_guitar": "a.b.c.d.c.b.c.b."},
        ),
    ),
    channels={
        "kick": Channel(0.75, 0.0, 0.02),
        "snare": Channel(0.85, 0.05, 0.16),
        "sidestick": Channel(0.6, 0.1, 0.2),
        "hat": Channel(0.2, 0.32, 0.04),
        "open_hat": Channel(0.18, 0.32, 0.06),
        "tom": Channel(0.7, -0.3, 0.15),
        "crash": Channel(0.34, -0.4, 0.1),
        "steel_guitar": Channel(0.55, -0.45, 0.18),
        "electric_piano": Channel(0.42, 0.4, 0.2),
        "pad": Channel(0.3, 0.0, 0.25),
    },
    levels={"vocals": 0.1, "drums": 0.1, "bass": 0.085, "other": 0.075},
)

_LAZY_BEAT = {"kick": "9..4..6...8....3", "snare": "....8..2.2..8..2", "hat": "7.5.6.573.5.6.54"}

RAIN = Song(
    name="J. Aldermoor - Don't Wait for Rain",
    genre="Soul",
    key="F major",
    tempo=84,
    beats_per_bar=4,
    swing=0.6,
    bass="electric_bass",
    register="low",
    hall=1.3,
    lowest_voice=52,
    ring=1.4,
    sections=(
        Section(
            chords="Fmaj9 | Bbm6",
            tune="- 2 C5 .5 A4 .5 G4 .5 E4 .5 | F4 1.5 G4 .5 C#5 1 A#4 1",
            comping={"electric_piano": "X......x..x....."},
        ),
        Section(
            chords="Fmaj7 | Em7b5 A7 | Dm9 | Cm7 F7",
            melody="C4 1 A3 .5 C4 .5 E4 1 - 1 | D4 .75 C4 .25 A#3 1 A3 .5 C#4 1 - .5 |"
            "D4 1.5 F4 .5 E4 .5 D4 .5 A3 1 | A#3 1 G3 .5 D#4 1 - .5 C4 .5 A3 .5",
            lyrics="do no we ro  so lu me la no  wa li so ma di na  yo re mu  la wi",
            drums=_LAZY_BEAT,
            fill=_LAZY_BEAT | {"snare": "....8..3.5..7.58"},
            bass="R..x..R.R...5.A.",
            comping={"electric_piano": "X.....x...x.....", "nylon_guitar": "....x.......x..."},
        ),
        Section(
            chords="Bbmaj7 | Am7 D7 | Gm9 | C7sus4 C7",
            melody="D4 1.5 F4 .5 F4 1 D4 1 | E4 1 C4 1 F#4 1 - 1 |"
            "F4 .5 G4 1 F4 .5 D4 1 A#3 1 | C4 1.5 D4 .5 E4 1 - 1",
            lyrics="ra no ma le  so wi ya  di ho ra na lo  me wo ya",
            harmony="A#3 1.5 D4 .5 D4 1 A#3 1 | C4 1 A3 1 D4 1 - 1 |"
            "D4 .5 D4 1 D4 .5 A#3 1 G3 1 | G3 1.5 A#3 .5 C4 1 - 1",
            drums=_LAZY_BEAT | {"shaker": "3.5.3.5.3.5.3.5."},
            fill=_LAZY_BEAT | {"snare": "....8..3.......5", "tom": "..........7.8.9."},
            bass="R..R..5.R...8.A.",
            comping={
                "electric_piano": "X.....x...x..x..",
                "nylon_guitar": "....x.......x...",
                "pad": "x...............",
            },
        ),
        Section(
            chords="Fmaj9 | Bbm6 | Fmaj9",
            melody="C4 1 A3 2 - 1 | C#4 1.5 A#3 .5 G3 1 - 1 | A3 3 - 1",
            lyrics="do no  wa re mo  na",
            tune="- 3 E5 .5 C5 .5 | - 3 C#5 .5 A#4 .5 | - 1 C5 .5 E5 .5 G5 2",
            drums={"kick": "8..............."},
            bass="R...............",
            comping={"electric_piano": "X......x..x....."},
        ),
    ),
    soloist="vibraphone",
    channels={
        "kick": Channel(0.75, 0.0, 0.03),
        "snare": Channel(0.75, -0.04, 0.14),
        "hat": Channel(0.17, -0.28, 0.04),
        "shaker": Channel(0.18, 0.45, 0.05),
        "tom": Channel(0.65, 0.3, 0.12),
        "electric_piano": Channel(0.55, -0.15, 0.18),
        "nylon_guitar": Channel(0.5, 0.55, 0.15),
        "pad": Channel(0.16, 0.0, 0.3),
        "solo": Channel(0.42, 0.3, 0.3),
    },
    levels={"vocals": 0.1, "drums": 0.095, "bass": 0.095, "other": 0.075},
)

_NIGHT_BEAT = {"kick": "9...9...9...9...", "snare": "....8.......8...", "hat": "..6...6...6...6."}
_NIGHT_FULL = _NIGHT_BEAT | {"clap": "....7.......7...", "hat": "4.643.644.643.64"}

NIGHT_TRAIN = Song(
    name="Kaffeebrücke - Nachtzug 4.15",
    genre="Electronic",
    key="A minor",
    tempo=116,
    beats_per_bar=4,
    bass="synth_bass",
    hall=1.9,
    lowest_voice=55,
    pumping=0.55,
    sections=(
        Section(
            chords="Am | Fmaj7",
            comping={"synth_pluck": "a.b.d.c.b.d.c.b."},
        ),
        Section(
            chords="Am | Fmaj7 | C | G",
            drums=_NIGHT_BEAT,
            fill=_NIGHT_BEAT | {"snare": "....8...4.5.6.88"},
            bass="R.RRR.R.R.RRR.8.",
            comping={"synth_pluck": "a.b.d.c.b.d.c.b.", "pad": "X..............."},
        ),
        Section(
            chords="Dm7 | Am | F | E7",
            tune="F5 1.5 E5 .5 D5 1 A4 1 | C5 1.5 D5 .5 E5 2 |"
            "F5 1 E5 .5 C5 1.5 A4 1 | B4 1 G#4 1 E5 1.5 - .5",
            drums=_NIGHT_FULL,
            fill={"kick": "9...9...9.......", "tom": "........8.7.88.9"},
            bass="R.RRR.R.R.RRR.5.",
            comping={"synth_pluck": "a.b.d.c.b.d.c.b.", "pad": "X..............."},
        ),
        Section(
            chords="Fmaj7 | G",
            tune="A4 3 C5 1 | B4 2 D5 2",
            comping={"pad": "X...............", "electric_piano": "X.....x.....x..."},
        ),
        Section(
            chords="Am | Fmaj7 | C | G",
            tune="E5 1.5 D5 .5 C5 1 A4 1 | C5 1 A4 .5 C5 .5 E5 2 |"
            "G5 1.5 E5 .5 C5 1 D5 .5 E5 .5 | D5 1.5 B4 .5 G4 1 - 1",
            entry={"crash": "7..............."},
            drums=_NIGHT_FULL | {"open_hat": "..5...5...5...5."},
            fill=_NIGHT_FULL | {"snare": "....8.......8.89"},
            bass="R.RRR.R.R.RRR.8.",
            comping={"synth_pluck": "a.b.d.c.b.d.c.b.", "pad": "X..............."},
        ),
        Section(
            chords="Am",
            drums={"kick": "9...............", "crash": "6..............."},
            bass="R...............",
            comping={"pad": "X...............", "electric_piano": "X..............."},
        ),
    ),
    soloist="synth_lead",
    channels={
        "kick": Channel(0.8, 0.0, 0.0),
        "snare": Channel(0.7, 0.0, 0.3),
        "clap": Channel(0.5, 0.0, 0.3),
        "hat": Channel(0.18, 0.2, 0.03),
        "open_hat": Channel(0.17, -0.2, 0.05),
        "tom": Channel(0.75, 0.0, 0.25),
        "crash": Channel(0.38, 0.25, 0.2),
        "synth_pluck": Channel(0.55, 0.3, 0.2),
        "pad": Channel(0.34, 0.0, 0.2),
        "electric_piano": Channel(0.42, -0.3, 0.3),
        "solo": Channel(0.55, -0.05, 0.3),
    },
    levels={"drums": 0.115, "bass": 0.095, "other": 0.1},
)

_WALTZ_BEAT = {"kick": "7...........", "brush": "....6...6...", "shaker": "4.3.4.3.4.3."}

SUMMER_WALTZ = Song(
    name="Søren O'Dell - Valse d'été",
    genre="Folk",
    key="G major",
    tempo=138,
    beats_per_bar=3,
    bass="upright_bass",
    register="high",
    hall=1.5,
    lowest_voice=55,
    ring=2.0,
    swing=0.54,
    swing_unit=0.5,
    sections=(
        Section(
            chords="G | D/F# | Em7 | D",
            tune="B4 1.5 A4 .5 G4 1 | A4 2 F#4 1 | G4 1.5 F#4 .5 E4 1 | F#4 2 - 1",
            comping={"nylon_guitar": "a...x...x..."},
        ),
        Section(
            chords="G | D/F# | Em | C | G/B | Am7 | C | D7",
            melody="D4 1 G4 1 B4 1 | A4 2 F#4 1 | G4 1.5 F#4 .5 E4 1 | E4 2 - 1 |"
            "D4 1 G4 1 B4 1 | C5 1.5 B4 .5 A4 1 | G4 1 A4 1 E4 1 | F#4 2 - 1",
            lyrics="lo ra li  na wo  se ra me yo  do na li  ho ra la  so me wi na",
            drums=_WALTZ_BEAT,
            bass="R...........",
            comping={"nylon_guitar": "a...x...x..."},
        ),
        Section(
            chords="C | G/B | Am7 | G | C | G/B | Am7 D7 | G",
            melody="E5 1.5 D5 .5 C5 1 | D5 2 B4 1 | C5 1 B4 1 A4 1 | B4 2 - 1 |"
            "E5 1.5 D5 .5 E5 1 | D5 1 B4 1 G4 1 | A4 1.5 B4 .5 F#4 1 | G4 2 - 1",
            lyrics="va le de te  la ro na mi ya  ho la me na  li ro so  wa ne lo na",
            harmony="C5 1.5 B4 .5 A4 1 | B4 2 G4 1 | A4 1 G4 1 E4 1 | G4 2 - 1 |"
            "C5 1.5 B4 .5 C5 1 | B4 1 G4 1 D4 1 | E4 1.5 F#4 .5 D4 1 | D4 2 - 1",
            drums=_WALTZ_BEAT | {"sidestick": "........4..."},
            fill={"kick": "7...........", "brush": "....6...7.6."},
            bass="R.......5...",
            comping={"nylon_guitar": "a...x...x...", "accordion": "x..........."},
        ),
        Section(
            chords="Em | C | Am7 | D7 | G",
            tune="B4 1.5 A4 .5 G4 1 | E5 2 D5 1 | C5 1.5 B4 .5 A4 1 | F#4 1 A4 1 C5 1 | B4 3",
            drums={"brush": "....4...4..."},
            fill={"kick": "6..........."},
            bass="R...........",
            comping={"nylon_guitar": "a.b.c.d.c.b.", "accordion": "x..........."},
        ),
    ),
    soloist="accordion",
    channels={
        "kick": Channel(0.6, 0.0, 0.1),
        "brush": Channel(0.6, 0.12, 0.15),
        "shaker": Channel(0.22, -0.35, 0.08),
        "sidestick": Channel(0.5, 0.2, 0.2),
        "nylon_guitar": Channel(0.62, 0.3, 0.15),
        "accordion": Channel(0.4, -0.35, 0.2),
        "solo": Channel(0.5, -0.3, 0.2),
    },
    levels={"vocals": 0.1, "drums": 0.05, "bass": 0.085, "other": 0.085},
)

SONGS = (HARBOUR_LIGHTS, RAIN, NIGHT_TRAIN, SUMMER_WALTZ)
