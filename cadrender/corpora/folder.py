"""Any tree of songs: a folder a song, an audio file a stem."""

from collections.abc import Mapping
from pathlib import Path

from cadrender.corpora.layout import Corpus, LeftOut, SourceTrack, distinct, require_folder, safe_name, walk
from cadrender.errors import UsageError
from cadrender.stems import MIXTURE, STEMS, VDBO

NAME = "folder"
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")


def scan(
    folder: Path,
    *,
    stems: Mapping[str, str] | None = None,
    name: str = NAME,
    license: str = "unknown",
    genre: str = "unknown",
    skip: tuple[Path, ...] = (),
) -> Corpus:
    """Find the songs of any tree of ``<song>/<stem>.(wav|flac|mp3|ogg)``.

    Every folder that holds audio files is a song; it is named after its path below `folder`, `` - `` between
    the levels. A song without a mixture gets the sum of its stems, and what it lacks of the four is digital
    silence. Of a song with a mixture only the stems it has are written: the mixture may hold the others.

    Parameters
    ----------
    folder : pathlib.Path
        The tree.
    stems : mapping of str to str, optional
        File name without suffix -> stem, beside the stems' own names. Several files of one stem are summed.
    name : str
        The corpus's name.
    license, genre : str
        What the music list is to say of all songs.
    skip : tuple of pathlib.Path
        Folders to stay out of.

    Returns
    -------
    Corpus

    Raises
    ------
    UsageError
        If there is no song in `folder`, or `stems` names something that is no stem.
    """
    names = _file_names(stems or {})
    found = []
    used = set()
    for here, files in walk(require_folder(folder), skip=skip):
        audio = [path for path in files if path.suffix.lower() in SUFFIXES]
        if audio:
            used |= {_plain(path.stem) for path in audio}
            found.append(_song(_song_name(folder, here), audio, names, (genre, name, license)))
    if not any(isinstance(item, SourceTrack) for item in found):
        wanted = ", ".join(sorted(names))
        raise UsageError(
            f"{folder}: no song found; expected <song>/<stem> with one of {'|'.join(SUFFIXES)} named {wanted}"
        )
    tracks, twins = distinct(item for item in found if isinstance(item, SourceTrack))
    left_out = [item for item in found if isinstance(item, LeftOut)]
    notes = tuple(f"no file is named '{key}'" for key in map(_plain, stems or {}) if key not in used)
    return Corpus(name, folder, tracks, (*left_out, *twins), notes)


def _file_names(stems: Mapping[str, str]) -> dict[str, str]:
    wrong = [stem for stem in stems.values() if stem not in STEMS]
    if wrong:
        raise UsageError(f"'{wrong[0]}' is no stem; expected {', '.join(STEMS)}")
    return {stem: stem for stem in STEMS} | {_plain(name): stem for name, stem in stems.items()}


def _song_name(folder: Path, here: Path) -> str:
    parts = here.relative_to(folder).parts or (here.resolve().name,)
    return safe_name(" - ".join(parts))


def _song(
    name: str, audio: list[Path], names: Mapping[str, str], fields: tuple[str, str, str]
) -> SourceTrack | LeftOut:
    known = {}
    for path in audio:
        key = _plain(path.stem)
        if key in names and key in known:
            return LeftOut(
                name, f"has both {known[key].name} and {path.name}; expected one of them", expected=False
            )
        if key in names:
            known[key] = path
    strangers = [path.name for path in audio if _plain(path.stem) not in names]
    if not known:
        return LeftOut(
            name,
            f"no file is named after a stem ({', '.join(strangers)}); --map NAME=STEM says what they are",
        )
    sources = {
        stem: files
        for stem in STEMS
        if (files := tuple(path for key, path in known.items() if names[key] == stem))
    }
    notes = [f"{stranger} is no stem and left out; --map NAME=STEM says what it is" for stranger in strangers]
    lacking = [stem for stem in VDBO if stem not in sources]
    if MIXTURE not in sources:
        there = (path for stem in VDBO for path in sources.get(stem, ()))
        sources = {MIXTURE: tuple(there)} | {stem: sources.get(stem, ()) for stem in VDBO}
        silent = f", and {', '.join(lacking)} digital silence" if lacking else ""
        notes.append(f"has no mixture: it is the sum of the stems{silent}")
    elif lacking and len(lacking) < len(VDBO):
        notes.append(
            f"has no {', '.join(lacking)}: no target is made of it (without its mixture they would be silence)"
        )
    return SourceTrack(name, sources, *fields, tuple(notes))


def _plain(name: str) -> str:
    name = name.casefold()
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)
