import pytest

from cadrender.corpora import fma as corpus_module
from cadrender.errors import MetadataError, UsageError
from tests.corpora.trees import fma, fma_metadata

CLIPS = ["000002", "000005", "001001", "001002", "098565", "099134", "108925", "133297", "133298"]


@pytest.mark.parametrize("inner", ["", "fma_small"])
def test_every_clip_is_a_mixture(tmp_path, inner):
    corpus = corpus_module.scan(fma(tmp_path) / inner)
    assert [track.name for track in corpus.tracks] == CLIPS
    assert [list(track.sources) for track in corpus.tracks] == [["mixture"]] * len(CLIPS)
    assert corpus.tracks[0].sources["mixture"] == (tmp_path / "fma_small" / "000" / "000002.mp3",)
    assert corpus.forgiving
    assert corpus.minimum_seconds == 2.0


@pytest.mark.parametrize("place", ["beside", "inside", "given"])
def test_licences_and_genres_come_from_the_table(tmp_path, place):
    folder = fma(tmp_path / "corpus")
    table = fma_metadata({"beside": tmp_path, "inside": folder, "given": tmp_path / "far"}[place])
    corpus = corpus_module.scan(folder, metadata=table if place == "given" else None)
    first, second, third, *_ = corpus.tracks
    assert first.license == "Attribution-NonCommercial-ShareAlike 3.0 International"
    assert first.genre == "Hip-Hop"
    assert (second.license, second.genre) == ("unknown (see FMA metadata)", "Rock")
    assert (third.license, third.genre) == ("unknown (see FMA metadata)", "unknown")
    assert corpus.notes == ()


def test_no_table(tmp_path):
    corpus = corpus_module.scan(fma(tmp_path))
    assert {track.license for track in corpus.tracks} == {"unknown (see FMA metadata)"}
    assert "licences and genres are unknown" in corpus.notes[0]


@pytest.mark.parametrize("content", ["", "a,b\n", "id,track\n,title\n", ",track\n,title\nx\n"])
def test_wrong_table(tmp_path, content):
    table = tmp_path / "tracks.csv"
    table.write_text(content)
    with pytest.raises(
        MetadataError, match=r"tracks\.csv: .*; expected FMA's tracks.csv with track/license"
    ) as caught:
        corpus_module.scan(fma(tmp_path / "corpus"), metadata=table)
    assert "\n" not in str(caught.value)


def test_a_folder_without_clips(tmp_path):
    (tmp_path / "abc").mkdir()
    (tmp_path / "abc" / "000002.mp3").touch()
    with pytest.raises(UsageError, match=r"no clip found; expected files such as 000/000002\.mp3"):
        corpus_module.scan(tmp_path)


def test_what_is_no_mp3_is_named(tmp_path):
    fma(tmp_path)
    other = tmp_path / "fma_small/000/000003.m4a"
    other.touch()
    assert f"{other}: not an MP3 file: left out" in corpus_module.scan(tmp_path).notes
