import numpy as np
import pytest
import yaml

from cadrender.corpora import medleydb
from cadrender.corpora.layout import name_key, read_instruments, shipped
from cadrender.errors import UsageError
from cadrender.stems import VDBO
from tests.corpora.trees import medleydb_song, tone, write

# The taxonomies of both versions, and what the songs' metadata names besides.
TAXONOMY = """
erhu, violin, viola, cello, double bass, violin section, viola section, cello section, string section,
dilruba, acoustic guitar, banjo, guzheng, harp, harpsichord, liuqin, mandolin, oud, slide guitar, ukulele,
zhongruan, sitar, dulcimer, yangqin, piano, tack piano, dizi, flute, flute section, piccolo, bamboo flute,
panpipes, recorder, alto saxophone, baritone saxophone, bass clarinet, clarinet, clarinet section, tenor
saxophone, soprano saxophone, oboe, english horn, bassoon, bagpipe, trumpet, cornet, trombone, french horn,
euphonium, tuba, brass section, french horn section, trombone section, horn section, trumpet section,
woodwind section, harmonica, concertina, accordion, bandoneon, harmonium, pipe organ, melodica, male singer,
female singer, male speaker, female speaker, male rapper, female rapper, male screamer, female screamer,
beatboxing, vocalists, choir, crowd, triangle, sleigh bells, cowbell, cabasa, high hat, gong, guiro, gu,
cymbal, chimes, castanet, claps, snaps, rattle, shaker, maracas, xylophone, vibraphone, marimba,
glockenspiel, whistle, timpani, toms, snare drum, kick drum, bass drum, bongo, conga, tambourine, darbuka,
doumbek, tabla, auxiliary percussion, drum set, clean electric guitar, distorted electric guitar, electric
bass, lap steel guitar, drum machine, electric piano, electronic organ, synthesizer, theremin, fx/processed
sound, scratch, scratches, sampler, Main System, Unlabeled
"""

# How MedleyDB spells the songs that MUSDB18-HQ's training split holds.
IN_MUSDB = [
    "AClassicEducation_NightOwl",
    "AimeeNorwich_Child",
    "AlexanderRoss_GoodbyeBolero",
    "AlexanderRoss_VelvetCurtain",
    "Auctioneer_OurFutureFaces",
    "AvaLuna_Waterduct",
    "BigTroubles_Phantom",
    "CelestialShore_DieForUs",
    "ClaraBerryAndWooldog_AirTraffic",
    "ClaraBerryAndWooldog_Stella",
    "ClaraBerryAndWooldog_WaltzForMyVictims",
    "Creepoid_OldTree",
    "DreamersOfTheGhetto_HeavyLove",
    "FacesOnFilm_WaitingForGa",
    "Grants_PunchDrunk",
    "HeladoNegro_MitadDelMundo",
    "HezekiahJones_BorrowedHeart",
    "HopAlong_SisterCities",
    "InvisibleFamiliars_DisturbingWildlife",
    "Lushlife_ToynbeeSuite",
    "MatthewEntwistle_DontYouEver",
    "Meaxic_TakeAStep",
    "Meaxic_YouListen",
    "MusicDelta_80sRock",
    "MusicDelta_Beatles",
    "MusicDelta_Britpop",
    "MusicDelta_Country1",
    "MusicDelta_Country2",
    "MusicDelta_Disco",
    "MusicDelta_Gospel",
    "MusicDelta_Grunge",
    "MusicDelta_Hendrix",
    "MusicDelta_Punk",
    "MusicDelta_Reggae",
    "MusicDelta_Rock",
    "MusicDelta_Rockabilly",
    "NightPanther_Fire",
    "PortStWillow_StayEven",
    "SecretMountains_HighHorse",
    "Snowmine_Curfews",
    "StevenClark_Bounty",
    "StrandOfOaks_Spacestation",
    "SweetLights_YouLetMeDown",
    "TheDistricts_Vermont",
    "TheScarletBrand_LesFleursDuMal",
    "TheSoSoGlos_Emergency",
]


def files(track):
    return {stem: [path.name for path in paths] for stem, paths in track.sources.items()}


def stem_files(title, **numbers):
    return {stem: [f"{title}_STEM_{n:02d}.wav" for n in numbers.get(stem, ())] for stem in VDBO}


def test_table_knows_every_instrument_of_the_taxonomy():
    table = read_instruments(shipped(medleydb.TABLE))
    names = [name.strip() for name in TAXONOMY.replace("\n", " ").split(",")]
    assert len(names) == 124
    assert [name for name in names if table.stem(name) not in VDBO] == []


@pytest.mark.parametrize(
    ("instrument", "stem"),
    [
        ("female singer", "vocals"),
        ("male rapper", "vocals"),
        ("vocalists", "vocals"),
        ("beatboxing", "vocals"),
        ("drum set", "drums"),
        ("auxiliary percussion", "drums"),
        ("timpani", "drums"),
        ("electric bass", "bass"),
        ("double bass", "bass"),
        ("vibraphone", "other"),
        ("bass clarinet", "other"),
        ("Main System", "other"),
    ],
)
def test_table(instrument, stem):
    assert read_instruments(shipped(medleydb.TABLE)).stem(instrument) == stem


def test_stems_are_grouped_by_instrument_alone(tmp_path):
    instruments = ["synthesizer", "drum set", "male singer", "electric bass", "tambourine", "Vocalists"]
    medleydb_song(tmp_path / "Audio", "Artist_Title", instruments)  # all of them are said to play the bass
    corpus = medleydb.scan(tmp_path)
    assert [track.name for track in corpus.tracks] == ["Artist_Title"]
    track = corpus.tracks[0]
    expected = stem_files("Artist_Title", vocals=(3, 6), drums=(2, 5), bass=(4,), other=(1,))
    assert files(track) == {"mixture": ["Artist_Title_MIX.wav"]} | expected
    assert (track.genre, track.source, track.license) == ("Rock", "MedleyDB", "CC BY-NC-SA 4.0")
    assert (track.notes, corpus.left_out) == ((), ())


def test_stems_may_be_numbered_in_any_way(tmp_path):
    medleydb_song(tmp_path / "Audio", "A_Song", ["piano", "drum set"])
    card = tmp_path / "Audio" / "A_Song" / "A_Song_METADATA.yaml"
    stems = yaml.safe_load(card.read_text())["stems"]
    spoil_card(card, stems={1: stems["S01"], "S02": stems["S02"] | {"instrument": ["drum set"]}})
    assert files(medleydb.scan(tmp_path).tracks[0])["drums"] == ["A_Song_STEM_02.wav"]


@pytest.mark.parametrize(
    ("instruments", "stem", "note"),
    [
        (["male singer", "vocalists"], "vocals", None),
        (["Female Singer", "male  singer", "choir"], "vocals", None),
        (["drum set", "tambourine"], "drums", None),
        (
            ["male singer", "piano"],
            "other",
            "instruments of one stem belong to different ones: male singer (vocals), piano (other): goes to other",
        ),
        (
            ["male singer", "kazoo"],
            "other",
            "instrument 'kazoo' is not in the table of instruments: goes to other",
        ),
        ([], "other", "instrument '' is not in the table of instruments: goes to other"),
    ],
)
def test_a_list_of_instruments_that_agree_is_one(tmp_path, instruments, stem, note):
    medleydb_song(tmp_path / "Audio", "A_Song", [instruments])
    track = medleydb.scan(tmp_path).tracks[0]
    assert files(track)[stem] == ["A_Song_STEM_01.wav"]
    assert track.notes == ((note,) if note else ())


def test_a_class_without_a_stem_is_silent(tmp_path):
    medleydb_song(tmp_path / "Audio", "Artist_Title", ["piano"])
    sources = medleydb.scan(tmp_path).tracks[0].sources
    assert (sources["vocals"], sources["drums"], sources["bass"]) == ((), (), ())


def test_unknown_instruments_are_reported_and_go_to_other(tmp_path):
    medleydb_song(tmp_path / "Audio", "Artist_Title", ["kazoo", "kazoo", "theorbo", ""])
    track = medleydb.scan(tmp_path).tracks[0]
    assert files(track)["other"] == [f"Artist_Title_STEM_{n:02d}.wav" for n in (1, 2, 3, 4)]
    assert track.notes == tuple(
        f"instrument '{name}' is not in the table of instruments: goes to other"
        for name in ("kazoo", "theorbo", "")
    )


def test_a_table_of_ones_own(tmp_path):
    medleydb_song(tmp_path / "Audio", "Artist_Title", ["kazoo", "drum set"])
    table = tmp_path / "table.yaml"
    table.write_text("vocals: [kazoo]\nother: [drum set]\n")
    track = medleydb.scan(tmp_path / "Audio", instruments=table).tracks[0]
    assert files(track)["vocals"] == ["Artist_Title_STEM_01.wav"]
    assert files(track)["drums"] == []


@pytest.mark.parametrize(
    "place", ["Metadata", "medleydb/data/Metadata", "data/Metadata", "elsewhere/cards", "../Metadata"]
)
def test_metadata_in_a_folder_of_its_own(tmp_path, place):
    corpus = tmp_path / "MedleyDB"
    medleydb_song(corpus / "Audio", "Artist_Title", ["electric bass"], metadata=corpus / place)
    assert [track.name for track in medleydb.scan(corpus).tracks] == ["Artist_Title"]


def test_metadata_beside_the_audio_wins(tmp_path):
    medleydb_song(tmp_path / "Audio", "Artist_Title", ["piano"], metadata=tmp_path / "Metadata", genre="Old")
    medleydb_song(tmp_path / "Audio", "Artist_Title", ["piano"], genre="New")
    assert medleydb.scan(tmp_path).tracks[0].genre == "New"


def test_metadata_where_the_user_says(tmp_path):
    medleydb_song(tmp_path / "corpus", "Artist_Title", ["piano"], metadata=tmp_path / "far" / "away")
    with pytest.raises(UsageError, match=r"no <Artist_Title>_METADATA[.]yaml beside the audio or in"):
        medleydb.scan(tmp_path / "corpus")
    assert medleydb.scan(tmp_path / "corpus", metadata=tmp_path / "far").tracks


@pytest.mark.parametrize("layout", ["", "Audio", "V1", "MedleyDB/Audio"])
def test_where_the_audio_is(tmp_path, layout):
    medleydb_song(tmp_path / layout, "Artist_Title", ["piano"])
    assert [track.name for track in medleydb.scan(tmp_path).tracks] == ["Artist_Title"]


def test_both_versions_at_once(tmp_path):
    medleydb_song(tmp_path / "V2", "B_Song", ["piano"])
    medleydb_song(tmp_path / "V1", "A_Song", ["piano"])
    (tmp_path / "V1" / "A_Song" / "._A_Song_MIX.wav").write_bytes(b"what macOS adds")
    assert [track.name for track in medleydb.scan(tmp_path).tracks] == ["A_Song", "B_Song"]


def test_songs_of_musdb_are_left_out_as_medleydb_spells_them(tmp_path):
    for title in (*IN_MUSDB, "MusicDelta_Shadows"):
        write(tmp_path / "Audio" / title / f"{title}_MIX.wav", np.zeros((10, 2)))
    medleydb_song(tmp_path / "Audio", "MusicDelta_Shadows", ["piano"])
    corpus = medleydb.scan(tmp_path)
    assert [track.name for track in corpus.tracks] == ["MusicDelta_Shadows"]
    assert sorted(song.name for song in corpus.left_out) == sorted(IN_MUSDB)
    assert {(song.reason, song.expected) for song in corpus.left_out} == {(medleydb.IN_MUSDB, True)}


@pytest.mark.parametrize(
    ("title", "fields"),
    [
        ("A Classic Education - NightOwl", {}),
        ("aclassiceducation_nightowl", {}),
        ("ACE_NO", {"artist": "A Classic Éducation", "title": "Night Owl"}),
    ],
)
def test_songs_of_musdb_are_left_out_however_they_are_spelled(tmp_path, title, fields):
    medleydb_song(tmp_path / "Audio", title, ["piano"], **fields)
    assert [song.reason for song in medleydb.scan(tmp_path).left_out] == [medleydb.IN_MUSDB]
    kept = medleydb.scan(tmp_path, keep_musdb=True)
    assert [track.name for track in kept.tracks] == [title]
    assert kept.left_out == ()


def test_bleed_is_flagged_or_left_out(tmp_path):
    medleydb_song(tmp_path / "Audio", "A_Song", ["piano"], has_bleed="yes")
    medleydb_song(tmp_path / "Audio", "B_Song", ["piano"], has_bleed=True)  # an unquoted yes is a boolean
    medleydb_song(tmp_path / "Audio", "C_Song", ["piano"], has_bleed="no")
    assert [track.notes for track in medleydb.scan(tmp_path).tracks] == [
        (medleydb.BLEED,),
        (medleydb.BLEED,),
        (),
    ]
    clean = medleydb.scan(tmp_path, skip_bleed=True)
    assert [track.name for track in clean.tracks] == ["C_Song"]
    assert [(song.name, song.expected) for song in clean.left_out] == [("A_Song", True), ("B_Song", True)]


def test_songs_without_stems_are_mixtures_and_flagged(tmp_path):
    medleydb_song(tmp_path / "Audio", "A_Song", [], seconds=0.5)
    medleydb_song(tmp_path / "Audio", "B_Song", ["piano"])
    for path in (tmp_path / "Audio" / "B_Song" / "B_Song_STEMS").iterdir():
        path.unlink()
    (tmp_path / "Audio" / "B_Song" / "B_Song_STEMS").rmdir()
    for track in medleydb.scan(tmp_path).tracks:
        assert (list(track.sources), track.notes) == (["mixture"], (medleydb.NO_STEMS,))


def spoil_card(path, **fields):
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing stem", "S02 names A_Song_STEM_02.wav, which"),
        ("missing mixture", "has no mixture; expected"),
        ("missing card", "has no metadata; expected"),
        ("broken card", "cannot be read"),
        ("wrong date", "cannot be read"),
        ("deep card", "cannot be read"),
        ("latin card", "cannot be read"),
        ("listed card", "expected a YAML mapping"),
        ("wrong stems", "'stems' is not a mapping"),
        ("path", "S01 has the filename '../../secret.wav'"),
        ("number", "S01 has the filename 3"),
    ],
)
def test_faults_of_one_song_do_not_stop_the_others(tmp_path, fault, message):
    medleydb_song(tmp_path / "Audio", "A_Song", ["piano", "electric bass"])
    medleydb_song(tmp_path / "Audio", "B_Song", ["piano"])
    folder = tmp_path / "Audio" / "A_Song"
    card = folder / "A_Song_METADATA.yaml"
    match fault:
        case "missing stem":
            (folder / "A_Song_STEMS" / "A_Song_STEM_02.wav").unlink()
        case "missing mixture":
            (folder / "A_Song_MIX.wav").unlink()
        case "missing card":
            card.unlink()
        case "broken card":
            card.write_text("stems: [\nS01")
        case "wrong date":
            card.write_text("release date: 2014-99-99")
        case "deep card":
            card.write_text("stems: " + "[" * 50_000 + "]" * 50_000)
        case "latin card":
            card.write_bytes(b"artist: Caf\xe9")
        case "listed card":
            card.write_text("- stems")
        case "wrong stems":
            spoil_card(card, stems=["S01", "S02"])
        case "path":
            write(tmp_path / "secret.wav", tone(440))
            spoil_card(card, stems={"S01": {"filename": "../../secret.wav", "instrument": "piano"}})
        case "number":
            spoil_card(card, stems={"S01": {"filename": 3, "instrument": "piano"}})
    corpus = medleydb.scan(tmp_path)
    assert [track.name for track in corpus.tracks] == ["B_Song"]
    assert [(song.name, song.expected) for song in corpus.left_out] == [("A_Song", False)]
    assert message in corpus.left_out[0].reason
    assert "\n" not in corpus.left_out[0].reason


def test_one_song_in_two_places_is_taken_once(tmp_path):
    medleydb_song(tmp_path / "V1", "A_Song", ["piano"])
    medleydb_song(tmp_path / "copy", "A_Song", ["piano"])
    corpus = medleydb.scan(tmp_path)
    assert len(corpus.tracks) == 1
    assert "second song of that name" in corpus.left_out[0].reason


def test_a_folder_without_songs(tmp_path):
    with pytest.raises(UsageError, match=r"no song found; expected <Artist_Title>_MIX[.]wav"):
        medleydb.scan(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        medleydb.scan(tmp_path / "none")


def test_names_of_the_list_are_those_of_medleydb():
    listed = yaml.safe_load(shipped(medleydb.MUSDB).read_text(encoding="utf-8"))["tracks"]
    assert sorted(map(name_key, listed)) == sorted(map(name_key, IN_MUSDB))
