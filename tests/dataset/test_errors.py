"""What cannot be: options, epochs, songs and HRIRs that are missing, short or damaged."""

import math
import re
import warnings

import pytest

import cadrender
from cadrender.errors import AudioError, CadrenderError, MetadataError, UsageError
from cadrender.metadata.gains import build_gains, gains_json
from cadrender.stems import VDBO
from tests.dataset.items import NAMES, dataset, same


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0}, "seconds=0: a number greater than 0"),
        ({"seconds": math.nan}, "seconds=nan: a number"),
        ({"seconds": True}, "seconds=True: a number"),
        ({"seconds": "6"}, "seconds='6': a number"),
        ({"seconds": 1e-6}, "seconds=1e-06: less than one frame at 44100 Hz"),
        ({"seconds": 60}, r"no song can be used: 4 songs shorter than seconds=60: .*\(2.1 s\).* and 1 more"),
        ({"stems": "vocals"}, "stems='vocals': a sequence of some of mixture, vocals, drums, bass, other"),
        ({"stems": ()}, r"stems=\(\): a sequence"),
        ({"stems": ("vocals", "piano")}, "piano.*: a sequence of some of mixture"),
        ({"stems": ("bass", "bass")}, "each once"),
        ({"heads": "all"}, "heads='all': expected 'scenes', 'any'"),
        ({"mixture": None}, "mixture=None: expected 'file', 'sum'"),
        ({"songs": "two"}, "songs='two': expected 'one', 'mixed'"),
        ({"dtype": "int16"}, "dtype='int16': expected 'float32', 'float64'"),
        ({"dtype": "real"}, "dtype='real': expected"),
        ({"dtype": None}, "dtype=None: expected"),
        ({"length": 0}, "length=0: a whole number from 1 to 4294967295"),
        ({"length": 2.0}, "length=2.0: a whole number"),
        ({"seed": -1}, "seed=-1: a whole number from 0 to 4294967295"),
        ({"seed": 2**32}, "seed=4294967296: a whole number"),
        ({"seed": True}, "seed=True: a whole number"),
        ({"gain_db": 6, "stems": ("bass",)}, r"gain_db=6: two numbers of dB .* such as \(-6, 6\)"),
        ({"gain_db": (6, -6), "stems": ("bass",)}, r"gain_db=\(6, -6\): .* lower one first"),
        ({"gain_db": (-6, math.inf), "stems": ("bass",)}, "gain_db=.*inf"),
        ({"gain_db": (-6, 6)}, r"gain_db=\(-6, 6\) with mixture='file': .* set mixture='sum', or leave"),
        ({"songs": "mixed"}, "songs='mixed' with mixture='file': .* set mixture='sum', or leave"),
        ({"swap_channels": 0.5}, "swap_channels=0.5: expected False, True"),
        ({"minimum_lufs": "quiet"}, "minimum_lufs='quiet': a number of LUFS"),
        ({"minimum_lufs": {"piano": -50}}, "minimum_lufs of 'piano': it can be set for mixture, vocals"),
        (
            {"minimum_lufs": {"bass": -50}, "stems": ["drums"]},
            "minimum_lufs of 'bass': it can be set for drums",
        ),
        (
            {"minimum_lufs": -50, "seconds": 0.3},
            "minimum_lufs with seconds=0.3: loudness is defined from 0.4 s",
        ),
        (
            {"minimum_lufs": {"mixture": -50}, "songs": "mixed", "mixture": "sum"},
            "minimum_lufs of 'mixture': it can be set for vocals, drums, bass, other",
        ),
    ],
)
def test_wrong_options(root, options, message):
    with pytest.raises(ValueError, match=message) as error:
        dataset(root, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("epoch", [-1, 2**32, 0.0, "1", None])
def test_wrong_epochs(root, epoch):
    items = dataset(root)
    with pytest.raises(ValueError, match="a whole number from 0 to 4294967295"):
        items.set_epoch(epoch)
    assert items.epoch == 0


def test_the_root_may_be_open_already(root):
    opened = cadrender.open_root(root)
    same(dataset(opened)[0], dataset(str(root), split="train")[0])
    with pytest.raises(ValueError, match="split='valid', but the given root is opened for 'train'"):
        dataset(opened, split="valid")
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        dataset(root / "nowhere")
    with pytest.raises(UsageError, match="is none of train, valid, test"):
        dataset(root, split="eval")


def test_any_head_needs_no_scenes(own, root):
    (own / "metadata/scenes.train.json").unlink()
    same(dataset(own, heads="any")[3], dataset(root, heads="any")[3])
    with pytest.raises(MetadataError, match=r"scenes\.train\.json"):
        dataset(own)


def test_no_scenes_at_all(own):
    (own / "metadata/scenes.train.json").write_text("{}")
    with pytest.raises(UsageError, match=r"scenes\.train\.json: empty"):
        dataset(own)


def test_gains_of_other_stems(own):
    (own / "metadata/gains.json").write_text(gains_json(build_gains(("vocals", "rest"))))
    with pytest.raises(CadrenderError, match="gain"):
        dataset(own)
    with pytest.raises(
        MetadataError, match=r"gains\.json: gain_0001: gains of vocals, rest; expected vocals"
    ):
        dataset(own, heads="any")


def test_a_missing_hrir_is_found_at_once(own):
    (own / "audio/hrtf/BTE_fr-VP_E1-p30.0.wav").unlink()
    for heads in ("scenes", "any"):
        with pytest.raises(MetadataError, match=r"p30\.0\.wav: no such file .*hlp_0003"):
            dataset(own, heads=heads)


def test_short_songs_are_left_out_with_a_warning(root):
    with pytest.warns(
        UserWarning, match=r"left out 2 songs shorter than seconds=1\.5: .*Vol\. 2.* \(1\.3 s\)"
    ) as seen:
        items = dataset(root, seconds=1.5)
    assert "tests/dataset" in seen[0].filename  # the caller's line, not the library's
    assert {item["song"] for item in items} == {NAMES[0], NAMES[2]}
    assert len(items) == 7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset(root)


def test_songs_without_a_stem_are_left_out_with_a_warning(own):
    folder = own / "audio/music/train" / NAMES[2]
    for stem in VDBO:
        (folder / f"{stem}.wav").unlink()
    with pytest.warns(
        UserWarning, match=r"1 song without stems .*: 'Third' \(no vocals, drums, bass, other\)"
    ):
        items = dataset(own)
    assert NAMES[2] not in {item["song"] for item in items}
    with pytest.warns(UserWarning, match="1 song without stems"):
        dataset(own, stems=("mixture",), mixture="sum")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(dataset(own, stems=("mixture",))) == 13


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_damaged_song_is_an_error_when_it_is_needed(own, when):
    items = dataset(own)
    file = own / "audio/music/train" / NAMES[2] / "drums.wav"
    file.write_bytes(file.read_bytes()[:1000])
    if when == "before":
        items = dataset(own)
    failed = []
    for number in range(len(items)):
        try:
            failed += [name for name in [items[number]["song"]] if name == NAMES[2]]
        except AudioError as error:
            assert re.search(r"drums\.wav: .*", str(error)) and "\n" not in str(error)
            failed.append(number)
    assert len(failed) == 3 and all(isinstance(each, int) for each in failed)


def test_a_lost_hrir_is_an_error_when_it_is_needed(own):
    items = dataset(own, heads="any", length=30)
    (own / "audio/hrtf/BTE_fr-VP_E1-p30.0.wav").unlink()
    outcomes = set()
    for number in range(len(items)):
        try:
            outcomes.add(items[number]["sample"][-8:])
        except AudioError as error:
            outcomes.add(str(error))
    assert len(outcomes) == 3 and sum("p30.0.wav: no such file" in each for each in outcomes) == 1
