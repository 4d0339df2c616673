"""Any tree of songs: each folder a song and each audio file a stem, or each audio file a song."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cadrender.corpora.layout import (
    READABLE,
    UNREADABLE,
    Corpus,
    LeftOut,
    SourceTrack,
    distinct,
    require_folder,
    safe_name,
    walk,
)
from cadrender.errors import UsageError
from cadrender.stems import MIXTURE, STEMS, VDBO
from cadrender.wording import plural

NAME = "folder"

# Number of files named in a message.
_NAMED = 5


def scan(
    folder: Path,
    *,
    stems: Mapping[str, str] | None = None,
    name: str = NAME,
    license: str = "unknown",
    genre: str = "unknown",
    mixtures: bool = False,
    skip: tuple[Path, ...] = (),
) -> Corpus:
    """Find the songs of any tree of ``<song>/<stem>.(wav|flac|mp3|...)``.

    Every folder with audio files is a song, named after its path below `folder` with `` - `` between the levels. A
    song without a mixture gets the sum of its stems, and missing stems are digital silence. For a song with a mixture
    only the existing stems are written: the mixture may contain the others.

    If no file in `folder` itself is named after a stem and `stems` is not given, each of these files is a song without
    stems. A file that cannot be decoded, such as ``vocals.m4a``, makes its song a failure.

    Parameters
    ----------
    folder : pathlib.Path
        The tree.
    stems : mapping of str to str, optional
        File name without suffix -> stem, in addition to the stems' own names. Files of the same stem are summed.
    name : str
        The corpus's name.
    license, genre : str
        Of all songs, for the music list.
    mixtures : bool
        Whether every audio file of the tree is a song without stems.
    skip : tuple of pathlib.Path
        Folders not to enter.

    Raises
    ------
    UsageError
        If there is no song in `folder`, `stems` names an unknown stem, or both `stems` and `mixtures` are given.
    """
    if stems and mixtures:
        raise UsageError("--map says which stem a file is, --mixtures that it is a song: use one of them")
    names = _file_names(stems or {})
    fields = (genre, name, license)
    found: list[SourceTrack | LeftOut] = []
    used: set[str] = set()
    notes: list[str] = []
    for here, files in walk(require_folder(folder), skip=skip):
        audio = [path for path in files if path.suffix.lower() in READABLE]
        unreadable = [path for path in files if path.suffix.lower() in UNREADABLE]
        keys = {_plain(path.stem) for path in (*audio, *unreadable)}
        used |= keys
        flat = here == folder and not stems and not keys & set(names)
        if mixtures or flat:
            found += [_mixture(folder, path, fields) for path in audio]
            found += [
                LeftOut(_file_name(folder, path), _cannot([path]), expected=False) for path in unreadable
            ]
            if audio and not mixtures:
                notes.append(
                    f"{plural(len(audio), 'file')} in {here} not named after a stem: taken as songs without stems"
                )
        elif audio or unreadable:
            found.append(_song(_song_name(folder, here), audio, unreadable, names, fields))
    if not any(isinstance(item, SourceTrack) for item in found):
        raise UsageError(_nothing(folder, names, found))
    notes += [f"no file is named '{key}'" for key in map(_plain, stems or {}) if key not in used]
    return Corpus(name, folder, *distinct(found), tuple(notes))


def _nothing(folder: Path, names: Mapping[str, str], found: Sequence[SourceTrack | LeftOut]) -> str:
    """Why no song was found."""
    failures = [
        f"{item.name}: {item.reason}" for item in found if isinstance(item, LeftOut) and not item.expected
    ]
    if failures:
        more = f", and {len(failures) - 1} more like it" if len(failures) > 1 else ""
        return f"{folder}: no song found: {failures[0]}{more}"
    wanted = ", ".join(sorted(names))
    return (
        f"{folder}: no song found; expected <song>/<stem> with one of {'|'.join(READABLE)} named {wanted} "
        "(--map NAME=STEM takes other names, --mixtures takes each file as a song)"
    )


def _cannot(files: list[Path]) -> str:
    names = [path.name for path in files[:_NAMED]]
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return f"{', '.join(names)}{more} cannot be decoded; expected WAV, FLAC, MP3 or Ogg (ffmpeg converts)"


def _mixture(folder: Path, path: Path, fields: tuple[str, str, str]) -> SourceTrack:
    return SourceTrack(_file_name(folder, path), {MIXTURE: (path,)}, *fields)


def _file_name(folder: Path, path: Path) -> str:
    """The name of a single-file song."""
    return safe_name(" - ".join(path.relative_to(folder).with_suffix("").parts))


def _file_names(stems: Mapping[str, str]) -> dict[str, str]:
    wrong = [stem for stem in stems.values() if stem not in STEMS]
    if wrong:
        raise UsageError(f"unknown stem '{wrong[0]}'; expected {', '.join(STEMS)}")
    return {stem: stem for stem in STEMS} | {_plain(name): stem for name, stem in stems.items()}


def _song_name(folder: Path, here: Path) -> str:
    parts = here.relative_to(folder).parts or (here.resolve().name,)
    return safe_name(" - ".join(parts))


def _song(
    name: str,
    audio: list[Path],
    unreadable: list[Path],
    names: Mapping[str, str],
    fields: tuple[str, str, str],
) -> SourceTrack | LeftOut:
    lost = [path for path in unreadable if _plain(path.stem) in names or not audio]
    if lost:
        return LeftOut(name, _cannot(lost), expected=False)
    known: dict[str, Path] = {}
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
            f"no file is named after a stem ({', '.join(strangers)}); --map NAME=STEM names their stems, "
            "--mixtures takes each as a song",
        )
    mixtures = [path.name for key, path in known.items() if names[key] == MIXTURE]
    if len(mixtures) > 1:  # files of a stem add up, but each mixture is a song
        return LeftOut(
            name, f"has {len(mixtures)} mixtures: {', '.join(mixtures)}; expected one", expected=False
        )
    sources = {
        stem: files
        for stem in STEMS
        if (files := tuple(path for key, path in known.items() if names[key] == stem))
    }
    notes = [
        f"{stranger} is not named after a stem: left out (--map NAME=STEM names its stem)"
        for stranger in strangers
    ]
    if unreadable:
        notes.append(f"{_cannot(unreadable)}: left out")
    lacking = [stem for stem in VDBO if stem not in sources]
    if MIXTURE not in sources:
        files = tuple(path for stem in VDBO for path in sources.get(stem, ()))
        sources = {MIXTURE: files} | {stem: sources.get(stem, ()) for stem in VDBO}
        silent = f", and {', '.join(lacking)} digital silence" if lacking else ""
        notes.append(f"has no mixture: it is the sum of the stems{silent}")
    elif lacking and len(lacking) < len(VDBO):
        notes.append(
            f"has no {', '.join(lacking)}: no target is made of it (without its mixture they would be silence)"
        )
    return SourceTrack(name, sources, *fields, tuple(notes))


def _plain(name: str) -> str:
    name = name.casefold()
    return next(
        (name.removesuffix(suffix) for suffix in (*READABLE, *UNREADABLE) if name.endswith(suffix)), name
    )
