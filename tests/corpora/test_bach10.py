import pytest

from cadrender.corpora import bach10 as corpus_module
from cadrender.corpora.layout import read_instruments, shipped
from cadrender.errors import UsageError
from tests.corpora.trees import bach10, tone, write

TITLE = "01-AchGottundHerr"


def files(track):
    return {stem: sorted(path.name for path in paths) for stem, paths in track.sources.items()}


@pytest.mark.parametrize("spelling", ["saxphone", "saxophone"])
def test_bassoon_is_the_bass(tmp_path, spelling):
    corpus = corpus_module.scan(bach10(tmp_path, saxophone=spelling))
    track = corpus.tracks[0]
    assert files(track) == {
        "mixture": [f"{TITLE}.wav"],
        "vocals": [],
        "drums": [],
        "bass": [f"{TITLE}-bassoon.wav"],
        "other": [f"{TITLE}-{part}.wav" for part in ("clarinet", spelling, "violin")],
    }
    assert (track.name, track.genre, track.source) == (TITLE, "Classical", "Bach10")
    assert track.license == "research use (the corpus states no licence)"
    assert track.notes == ()


def test_all_ten(tmp_path):
    corpus = corpus_module.scan(bach10(tmp_path / "Bach10_v1.1", pieces=10, seconds=0.1).parent)
    assert [track.name[:2] for track in corpus.tracks] == [f"{n:02d}" for n in range(1, 11)]
    assert (corpus.notes, corpus.left_out) == ((), ())


def test_missing_chorales_are_noted(tmp_path):
    assert corpus_module.scan(bach10(tmp_path, pieces=2, seconds=0.1)).notes == (
        "2 chorales found, Bach10 has 10",
    )


def test_missing_and_strange_parts_are_noted(tmp_path):
    bach10(tmp_path)
    (tmp_path / TITLE / f"{TITLE}-violin.wav").rename(tmp_path / TITLE / f"{TITLE}-kazoo.wav")
    (tmp_path / TITLE / f"{TITLE}-clarinet.wav").unlink()
    track = corpus_module.scan(tmp_path).tracks[0]
    assert files(track)["other"] == [f"{TITLE}-kazoo.wav", f"{TITLE}-saxphone.wav"]
    assert track.notes == (
        "part 'kazoo' is not in the table of instruments: goes to other",
        "has 3 parts (bassoon, kazoo, saxphone), a chorale has 4",
    )


def test_a_chorale_without_mix_or_parts_is_a_failure(tmp_path):
    bach10(tmp_path, pieces=3)
    (tmp_path / TITLE / f"{TITLE}.wav").unlink()
    for path in (tmp_path / "02-AchGottundHerr").glob("*-*-*.wav"):
        path.unlink()
    corpus = corpus_module.scan(tmp_path)
    assert [track.name for track in corpus.tracks] == ["03-AchGottundHerr"]
    assert [(song.name, song.reason.split(";")[0], song.expected) for song in corpus.left_out] == [
        (TITLE, "has no mix", False),
        ("02-AchGottundHerr", "has no parts", False),
    ]


def test_a_table_of_ones_own(tmp_path):
    (tmp_path / "table.yaml").write_text("vocals: [violin]\nother: [clarinet, saxphone, bassoon]\n")
    track = corpus_module.scan(bach10(tmp_path / "Bach10"), instruments=tmp_path / "table.yaml").tracks[0]
    assert files(track)["vocals"] == [f"{TITLE}-violin.wav"]
    assert files(track)["bass"] == []


def test_shipped_table():
    table = read_instruments(shipped(corpus_module.TABLE))
    assert {
        part: table.stem(part) for part in ("violin", "clarinet", "saxphone", "saxophone", "bassoon")
    } == {
        "violin": "other",
        "clarinet": "other",
        "saxphone": "other",
        "saxophone": "other",
        "bassoon": "bass",
    }


def test_a_folder_without_chorales(tmp_path):
    write(tmp_path / "song" / "mixture.wav", tone(440))
    with pytest.raises(UsageError, match="no chorale found; expected 01-AchGottundHerr"):
        corpus_module.scan(tmp_path)
