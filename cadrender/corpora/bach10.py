"""Bach10: ten four-part chorales, each with its parts and their mix.

Duan, Z., Pardo, B. and Zhang, C. (2010), "Multiple fundamental frequency estimation by modeling spectral
peaks and non-peak regions", IEEE TASLP 18(8). The corpus states no licence: it may be downloaded for
research.
"""

from pathlib import Path

from cadrender.corpora.layout import (
    Corpus,
    InstrumentTable,
    LeftOut,
    SourceTrack,
    distinct,
    read_instruments,
    require_folder,
    safe_name,
    shipped,
    walk,
)
from cadrender.errors import UsageError
from cadrender.stems import MIXTURE, VDBO

NAME = "bach10"
PIECES = 10
PARTS = 4
LICENSE = "research use (the corpus states no licence)"
TABLE = "bach10_instruments.yaml"


def scan(folder: Path, *, instruments: Path | None = None) -> Corpus:
    """Find Bach10's chorales in `folder`.

    A chorale is a folder ``01-AchGottundHerr`` with the mix ``01-AchGottundHerr.wav`` and the parts
    ``01-AchGottundHerr-<instrument>.wav``. A stem without parts is digital silence.

    Parameters
    ----------
    folder : pathlib.Path
        The corpus's folder, or its parent.
    instruments : pathlib.Path, optional
        The table of instruments; default: the shipped ``bach10_instruments.yaml``.

    Raises
    ------
    UsageError
        If there is no chorale in `folder`, or the table is invalid.
    """
    table = read_instruments(instruments or shipped(TABLE))
    found = [
        _chorale(here, wavs, table)
        for here, files in walk(require_folder(folder), depth=2)
        if (wavs := [path for path in files if _belongs(path, here.name)])
    ]
    if not found:
        raise UsageError(
            f"{folder}: no chorale found; expected 01-AchGottundHerr/01-AchGottundHerr.wav and the like"
        )
    tracks, left_out = distinct(found)
    notes = () if len(found) == PIECES else (f"{len(found)} chorales found, Bach10 has {PIECES}",)
    return Corpus(NAME, folder, tracks, left_out, notes)


def _belongs(path: Path, title: str) -> bool:
    is_wav = path.suffix.lower() == ".wav"
    return is_wav and (path.stem == title or path.stem.startswith(f"{title}-"))


def _chorale(folder: Path, wavs: list[Path], table: InstrumentTable) -> SourceTrack | LeftOut:
    title = folder.name
    name = safe_name(title)
    mix = [path for path in wavs if path.stem == title]
    parts = {path.stem.removeprefix(f"{title}-"): path for path in wavs if path.stem.startswith(f"{title}-")}
    if not mix:
        return LeftOut(name, f"has no mix; expected {folder / title}.wav", expected=False)
    if not parts:
        return LeftOut(
            name, f"has no parts; expected {folder / title}-violin.wav and the like", expected=False
        )
    strangers = [part for part in parts if not table.stem(part)]
    notes = [f"part '{part}' is not in the table of instruments: goes to other" for part in strangers]
    if len(parts) != PARTS:
        notes.append(f"has {len(parts)} parts ({', '.join(parts)}), a chorale has {PARTS}")
    groups = {
        stem: tuple(path for part, path in parts.items() if (table.stem(part) or "other") == stem)
        for stem in VDBO
    }
    return SourceTrack(name, {MIXTURE: (mix[0],)} | groups, "Classical", "Bach10", LICENSE, tuple(notes))
