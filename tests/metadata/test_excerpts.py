import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cadrender.errors import MetadataError, UsageError
from cadrender.metadata.excerpts import (
    Draw,
    Excerpt,
    cut_excerpts,
    draw_excerpts,
    excerpt_samples,
    excerpt_scenes,
    excerpts_json,
    read_excerpts,
)
from cadrender.metadata.music import Track
from cadrender.metadata.positions import HeadPosition
from cadrender.metadata.scenes import SceneRecord

SONG = Track("Señor Ñandú - What's Up & Away", "Pop", "Test", "CC0", "train", "train/elsewhere")
POSITIONS = [f"hlp_{k:04d}" for k in range(1, 13)]
GAINS = [f"gain_{k:04d}" for k in range(1, 21)]


def draw(song_frames=1000, frames=100, count=3, track=SONG, split="valid", **options):
    return draw_excerpts(track, song_frames, frames, count, split, GAINS, POSITIONS, **options)


def starts(drawn):
    return [excerpt.start for excerpt in drawn.excerpts]


def slow_draw(name, split, seed, last, frames, count):
    """The documented sequence, by lists of all frames at which an excerpt may begin."""
    text = f"{seed} {split} {name}"
    random = np.random.RandomState(int(hashlib.md5(text.encode()).hexdigest(), 16) % 10**8)
    positions = [POSITIONS[k] for k in random.permutation(len(POSITIONS))][:count]
    gains = [GAINS[k] for k in random.permutation(len(GAINS))][:count]
    taken: list[int] = []
    while len(taken) < count:
        free = [start for start in range(last + 1) if all(abs(start - other) >= frames for other in taken)]
        free = free or [start for start in range(last + 1) if start not in taken]
        taken.append(free[random.randint(len(free))])
    return positions, gains, taken


@pytest.mark.parametrize("seed", ["icassp2024", "another Ü"])
@pytest.mark.parametrize("song_frames", [1000, 350, 230, 106])
def test_the_draw_is_the_documented_one(seed, song_frames):
    for name in ("A", "Ñandú", "The Dots... - Vol. 2"):
        track = Track(name, "", "", "", "train", f"train/{name}")
        drawn = draw(song_frames, track=track, seed=seed)
        positions, gains, places = slow_draw(name, "valid", seed, song_frames - 100, 100, 3)
        assert [excerpt.position for excerpt in drawn.excerpts] == positions
        assert list(drawn.gains) == gains
        assert starts(drawn) == places
        assert drawn.remark == ""


def test_the_draw_is_for_good():
    """Pinned: another draw would make other data sets of the same seed."""
    drawn = draw(10_000_000, 441_000, 2)
    drawn_places = [(excerpt.position, excerpt.start) for excerpt in drawn.excerpts]
    assert drawn_places == [("hlp_0011", 4628084), ("hlp_0002", 5463094)]
    assert drawn.gains == ("gain_0013", "gain_0001")


def test_an_excerpt_says_where_it_comes_from():
    drawn = draw(count=2)
    for excerpt in drawn.excerpts:
        assert excerpt.name == f"{SONG.name}-{excerpt.position}"
        assert (excerpt.split, excerpt.track, excerpt.frames) == ("valid", SONG, 100)
        assert excerpt.path == f"valid/{excerpt.name}"


def test_seed_split_and_name_make_other_draws():
    others = [
        draw(seed="b"),
        draw(split="test"),
        draw(track=Track("B", "", "", "", "train", "train/B")),
    ]
    assert all(starts(other) != starts(draw()) for other in others)


def test_the_first_stay_when_more_are_drawn():
    few, many = draw(count=2), draw(count=9)
    assert many.excerpts[:2] == few.excerpts
    assert many.gains[:2] == few.gains
    assert len({excerpt.position for excerpt in many.excerpts}) == len(set(many.gains)) == 9


@given(
    frames=st.integers(1, 40),
    more=st.integers(0, 160),
    count=st.integers(1, 6),
    name=st.text(min_size=1, max_size=3, alphabet="abcäß "),
)
def test_excerpts_overlap_only_for_want_of_room(frames, more, count, name):
    track = Track(name, "", "", "", "train", "train/x")
    drawn = draw(frames + more, frames, count, track)
    places = starts(drawn)
    for k, start in enumerate(places):
        assert 0 <= start <= more
        room = any(all(abs(other - place) >= frames for other in places[:k]) for place in range(more + 1))
        assert all(abs(start - other) >= (frames if room else 1) for other in places[:k])
    assert len(places) == min(count, more + 1)
    assert ("different excerpts" in drawn.remark) == (len(places) < count)


def test_every_place_can_be_drawn():
    tracks = [Track(f"song {k}", "", "", "", "train", "train/x") for k in range(200)]
    assert {starts(draw(103, 100, 1, track))[0] for track in tracks} == {0, 1, 2, 3}


def test_a_song_shorter_than_an_excerpt():
    drawn = draw(99)
    assert drawn == Draw(remark=f"{SONG.name}: shorter than an excerpt: 99 frames of the 100 needed")
    assert cut_excerpts(SONG, 99, 100, "test", GAINS, POSITIONS) == drawn


@pytest.mark.parametrize(("gains", "positions"), [(GAINS, POSITIONS[:2]), (GAINS[:2], POSITIONS)])
def test_more_excerpts_than_positions_or_gains(gains, positions):
    with pytest.raises(UsageError, match=r"3 excerpts need as many (gains|head positions).*there are 2"):
        draw_excerpts(SONG, 1000, 100, 3, "valid", gains, positions)
    with pytest.raises(UsageError, match=r"3 excerpts need as many (gains|head positions).*there are 2"):
        cut_excerpts(SONG, 399, 100, "test", gains, positions)


def test_positions_to_avoid():
    free = {excerpt.position for excerpt in draw(count=4).excerpts}
    avoiding = draw(count=4, avoid=free)
    assert not free & {excerpt.position for excerpt in avoiding.excerpts}
    assert starts(avoiding) == starts(draw(count=4))
    all_but_one = set(POSITIONS) - {"hlp_0007"}
    drawn = [excerpt.position for excerpt in draw(count=3, avoid=all_but_one).excerpts]
    assert drawn[0] == "hlp_0007"
    assert len(set(drawn)) == 3
    # a position that is avoided moves no other excerpt's
    first, second, *_ = (excerpt.position for excerpt in draw(count=4).excerpts)
    assert next(excerpt.position for excerpt in draw(count=3, avoid={first}).excerpts) == second


def test_refused_places_are_drawn_again():
    asked: list[int] = []

    def accept(start):
        asked.append(start)
        return start >= 500

    drawn = draw(count=2, accept=accept)
    assert [start for start in asked if start >= 500] == starts(drawn)
    assert len(asked) > 2
    assert [excerpt.position for excerpt in drawn.excerpts] == [e.position for e in draw(count=2).excerpts]
    assert drawn.gains == draw(count=2).gains


def test_a_song_without_an_acceptable_place():
    asked: list[int] = []
    drawn = draw(count=2, accept=asked.append)
    assert drawn.excerpts == drawn.gains == ()
    assert len(asked) == 100
    assert drawn.remark == f"{SONG.name}: 100 places are too quiet: 0 of 2 excerpts drawn"


def test_cutting_from_end_to_end():
    drawn = cut_excerpts(SONG, 1099, 100, "test", GAINS, POSITIONS)
    assert starts(drawn) == list(range(0, 1000, 100))
    assert {excerpt.frames for excerpt in drawn.excerpts} == {100}
    positions = [excerpt.position for excerpt in drawn.excerpts]
    assert len(set(positions)) == len(set(drawn.gains)) == 10
    assert positions != sorted(positions)
    longer = cut_excerpts(SONG, 1100, 100, "test", GAINS, POSITIONS)
    assert starts(longer)[-1] == 1000
    assert longer.excerpts[:10] == drawn.excerpts


def test_quiet_excerpts_are_left_out_of_a_cut_song():
    whole = cut_excerpts(SONG, 500, 100, "test", GAINS, POSITIONS)
    some = cut_excerpts(SONG, 500, 100, "test", GAINS, POSITIONS, accept=lambda start: start not in (0, 300))
    assert some.excerpts == tuple(whole.excerpts[k] for k in (1, 2, 4))
    assert some.gains == tuple(whole.gains[k] for k in (1, 2, 4))
    assert some.remark == f"{SONG.name}: 2 of 5 excerpts are too quiet and left out"


def test_scenes_of_excerpts():
    other = Track("B", "", "", "", "train", "train/B")
    draws = [draw(count=2), Draw(), draw(count=1, track=other)]
    scenes = excerpt_scenes(draws)
    assert [scene.id for scene in scenes] == ["scene_10001", "scene_10002", "scene_10003"]
    assert [scene.music for scene in scenes] == [SONG.name, SONG.name, "B"]
    assert [scene.position for scene in scenes] == [e.position for each in draws for e in each.excerpts]
    assert [scene.gain for scene in scenes] == [gain for each in draws for gain in each.gains]


def test_the_list_is_read_as_it_was_written(tmp_path):
    file = tmp_path / "excerpts.valid.json"
    excerpts = list(draw().excerpts)
    text = excerpts_json(excerpts)
    file.write_text(text)
    assert text.isascii()
    assert read_excerpts(file) == excerpts
    assert json.loads(text)[0] == {
        "Track Name": excerpts[0].name,
        "Genre": "Pop",
        "Source": "Test",
        "License": "CC0",
        "Split": "valid",
        "Path": f"valid/{excerpts[0].name}",
        "Original Track Name": SONG.name,
        "Original Split": "train",
        "Original Path": "train/elsewhere",
        "Head Position": excerpts[0].position,
        "Start": excerpts[0].start,
        "Frames": 100,
    }


BROKEN = {
    "no song": (lambda item: item.pop("Original Track Name"), "has no 'Original Track Name'"),
    "no start": (lambda item: item.pop("Start"), "has no 'Start'"),
    "start in text": (lambda item: item.update(Start="7"), "Start is the text '7'"),
    "start before the song": (lambda item: item.update(Start=-1), "Start is the number -1"),
    "half a frame": (lambda item: item.update(Start=0.5), "Start is the number 0.5"),
    "true": (lambda item: item.update(Start=True), "Start is true"),
    "no frames": (lambda item: item.update(Frames=0), "Frames is the number 0"),
    "out of the folder": (lambda item: item.update({"Original Path": "../x"}), "not made of plain names"),
    "another place": (lambda item: item.update(Path="valid/x"), "Path is the text 'valid/x'"),
    "another name": (lambda item: item.update({"Track Name": "x"}), "its name is not"),
    "a bad position": (lambda item: item.update({"Head Position": "a/b"}), "holds a path separator"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_list(tmp_path, what):
    change, message = BROKEN[what]
    file = tmp_path / "excerpts.valid.json"
    items = json.loads(excerpts_json(draw().excerpts))
    change(items[1])
    file.write_text(json.dumps(items))
    with pytest.raises(MetadataError, match=r"excerpts\.valid\.json") as caught:
        read_excerpts(file)
    assert message in str(caught.value)
    problems: list[str] = []
    assert len(read_excerpts(file, problems)) == 2
    assert problems == [str(caught.value)]


def test_an_excerpt_twice(tmp_path):
    file = tmp_path / "excerpts.valid.json"
    items = json.loads(excerpts_json(draw().excerpts))
    file.write_text(json.dumps([*items, items[0]]))
    with pytest.raises(MetadataError, match=r"item 4: duplicate excerpt "):
        read_excerpts(file)
    file.write_text("{}")
    with pytest.raises(MetadataError, match="the list of excerpts is an object, not a list"):
        read_excerpts(file)


HEADS = {name: HeadPosition(name, "VP_E1", -30.0, 30.0, "BTE_fr") for name in POSITIONS}


def test_samples_of_excerpts():
    drawn = draw(count=2)
    scenes = [
        *excerpt_scenes([drawn]),
        SceneRecord("again", SONG.name, "gain_0001", drawn.excerpts[0].position),
    ]
    samples = excerpt_samples(scenes, drawn.excerpts, HEADS)
    assert [sample.name for sample in samples] == [excerpt.name for excerpt in drawn.excerpts]
    for sample, excerpt in zip(samples, drawn.excerpts, strict=True):
        assert (sample.split, sample.path, sample.source) == ("valid", excerpt.path, excerpt.name)
        assert (sample.track, sample.position) == (SONG, HEADS[excerpt.position])
        assert (sample.start, sample.frames) == (excerpt.start, 100)


def test_scenes_without_an_excerpt():
    drawn = draw(count=2)
    unused = next(name for name in POSITIONS if name not in {e.position for e in drawn.excerpts})
    with pytest.raises(MetadataError, match="scene 'a': there is no excerpt"):
        excerpt_samples([SceneRecord("a", SONG.name, "gain_0001", unused)], drawn.excerpts, HEADS)
    with pytest.raises(MetadataError, match="scene 'scene_10001': unknown head_loudspeaker_positions"):
        excerpt_samples(excerpt_scenes([drawn]), drawn.excerpts, {})
    # the name alone is not enough: another song and position can make the same one
    alike = Excerpt("a-b-c", "valid", Track("a", "", "", "", "train", "train/a"), "b-c", 0, 1)
    with pytest.raises(MetadataError, match="there is no excerpt 'a-b-c'"):
        excerpt_samples([SceneRecord("s", "a-b", "g", "c")], [alike], HEADS)
