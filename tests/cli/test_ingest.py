"""The command on each corpus's true layout, and processes of their own that are interrupted and killed."""

import contextlib
import json
import os
import re
import signal
import time

import numpy as np
import pytest
import soundfile

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.config import load_settings
from cadrender.errors import AudioError
from cadrender.stems import STEMS
from tests.corpora.trees import (
    bach10,
    ffmpeg,
    fma,
    fma_metadata,
    medleydb_song,
    mp3,
    read,
    tone,
    tree_bytes,
    write,
)
from tests.plausible import make_plausible_root
from tests.processes import assert_gone, family, patience, running, wait_for
from tests.roots import edit_json, invoke, make_root


def run(*arguments, status=0):
    result = invoke("ingest", *arguments)
    assert result.returncode == status, result.stderr
    return result


def listed(root, corpus):
    return {
        entry["Track Name"]: entry for entry in json.loads((root / f"metadata/{corpus}.json").read_bytes())
    }


def frequency(samples):
    """The frequency of the strongest sine, in whole Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), n=10 * 44100))
    return round(np.argmax(spectrum) / 10)


def test_medleydb(tmp_path):
    source, root = tmp_path / "MedleyDB", tmp_path / "root"
    instruments = ["female singer", "vocalists", "drum set", "electric bass", "piano", "kazoo"]
    signals = medleydb_song(source / "Audio", "Band_Song", instruments, metadata=source / "Metadata")
    medleydb_song(source / "Audio", "Duo_Bleeds", ["violin", "piano"], has_bleed="yes")
    medleydb_song(source / "Audio", "MusicDelta_80sRock", ["piano"])
    medleydb_song(source / "Audio", "AClassicEducation_NightOwl", ["piano"])
    result = run("medleydb", source, "--root", root, "-j", 2)

    entries = listed(root, "medleydb")
    assert list(entries) == ["Band_Song", "Duo_Bleeds"]
    assert entries["Band_Song"]["Path"] == "medleydb/Band_Song"
    assert entries["Band_Song"]["License"] == "CC BY-NC-SA 4.0"
    song = root / "audio/music/medleydb/Band_Song"
    for stem, numbers in {"vocals": (0, 1), "drums": (2,), "bass": (3,), "other": (4, 5)}.items():
        expected = sum(signals[n] for n in numbers) * 32768
        assert np.abs(read(song / f"{stem}.wav") - expected).max() < 3
    delivered = soundfile.read(source / "Audio/Band_Song/Band_Song_MIX.wav", dtype="int16")[0]
    assert np.array_equal(read(song / "mixture.wav"), delivered)
    assert not read(root / "audio/music/medleydb/Duo_Bleeds/vocals.wav").any()

    assert "AClassicEducation_NightOwl, MusicDelta_80sRock: left out: is in MUSDB18-HQ's" in result.stderr
    assert "Duo_Bleeds: has bleed between its stems" in result.stderr
    assert "Band_Song: instrument 'kazoo' is not in the table of instruments: goes to other" in result.stderr
    assert result.stdout.startswith("medleydb: 2 songs converted")
    assert "2 left out, 0 failed" in result.stdout

    run("medleydb", source, "--root", root, "-j", 1, "--keep-musdb", "--skip-bleed")
    assert list(listed(root, "medleydb")) == ["AClassicEducation_NightOwl", "Band_Song", "MusicDelta_80sRock"]


def test_a_song_that_fails_sets_the_exit_status(tmp_path):
    source, root = tmp_path / "MedleyDB", tmp_path / "root"
    medleydb_song(source / "Audio", "A_Song", ["piano"])
    medleydb_song(source / "Audio", "B_Song", ["piano"])
    stem = source / "Audio/B_Song/B_Song_STEMS/B_Song_STEM_01.wav"
    stem.write_bytes(stem.read_bytes()[:1000])
    result = run("medleydb", source, "--root", root, "-j", 1, status=1)
    assert list(listed(root, "medleydb")) == ["A_Song"]
    assert len(re.findall(rf"^B_Song: left out: {stem}: is damaged", result.stderr, re.MULTILINE)) == 1
    assert "0 left out, 1 failed" in result.stdout


def test_bach10(tmp_path):
    root = tmp_path / "root"
    result = run("bach10", bach10(tmp_path / "Bach10", pieces=2), "--root", root, "-j", 1)
    assert list(listed(root, "bach10")) == ["01-AchGottundHerr", "02-AchGottundHerr"]
    song = root / "audio/music/bach10/01-AchGottundHerr"
    stems = {stem: read(song / f"{stem}.wav") for stem in ("mixture", "vocals", "drums", "bass", "other")}
    assert {len(samples) for samples in stems.values()} == {44100}
    assert all(np.array_equal(samples[:, 0], samples[:, 1]) for samples in stems.values())
    assert not stems["vocals"].any()
    assert not stems["drums"].any()
    assert np.abs(stems["bass"][:, 0] - 32768 * tone(440, level=0.2)[:, 0]).max() < 3
    assert np.abs(stems["mixture"].astype(int) - stems["bass"] - stems["other"]).max() < 5
    assert "2 chorales found, Bach10 has 10" in result.stderr


def test_fma_small(tmp_path):
    root = tmp_path / "root"
    fma_metadata(tmp_path)
    result = run("fma-small", fma(tmp_path / "fma"), "--root", root, "-j", 2)  # damaged clips are no failure

    entries = listed(root, "fma-small")
    assert list(entries) == ["000002", "000005", "001001", "001002"]
    assert entries["000002"]["License"] == "Attribution-NonCommercial-ShareAlike 3.0 International"
    assert entries["001001"]["License"] == "unknown (see FMA metadata)"
    for name, pitch in {"000002": 440, "000005": 441, "001001": 442, "001002": 443}.items():
        folder = root / "audio/music/fma-small" / name
        assert sorted(path.name for path in folder.iterdir()) == ["mixture.wav"]
        samples = read(folder / "mixture.wav")
        assert len(samples) == 3 * 44100
        assert frequency(samples[:, 0]) == pitch
        assert np.sqrt(np.mean((samples / 32768) ** 2)) == pytest.approx(0.25 / np.sqrt(2), rel=0.02)
    mono = read(root / "audio/music/fma-small/000005/mixture.wav")
    assert np.array_equal(mono[:, 0], mono[:, 1])

    left_out = {
        entry["Track Name"]: entry["Reason"].partition(".mp3: ")[2]
        for entry in json.loads((root / "metadata/fma-small.ingest.json").read_bytes())["Left Out"]
    }
    assert left_out == {
        "098565": "is too short: 1.60 s; expected at least 2 s",
        "099134": "is empty; expected an audio file",
        "108925": left_out["108925"],
        "133297": "cannot be decoded; expected WAV, FLAC, MP3 or Ogg",
        "133298": "cannot be decoded; expected WAV, FLAC, MP3 or Ogg",
    }
    assert re.fullmatch(r"is damaged: 1\.\d s of 3\.0 s can be decoded", left_out["108925"])
    # One line each, and nothing of what libmpg123 has to say.
    first, amount, processes, *lines = result.stderr.splitlines()
    assert first == f"fma-small: 9 songs in {tmp_path / 'fma'}"
    assert amount.startswith("0 songs complete; 9 files to convert: ") and processes == "2 processes"
    assert sorted(line.partition(":")[0] for line in lines) == sorted(left_out)
    assert all(": left out: " in line for line in lines)
    assert "5 left out, 0 failed" in result.stdout
    assert sorted(path.name for path in (root / "audio/music/fma-small").iterdir()) == list(entries)


def test_fma_small_in_one_process_is_as_quiet(tmp_path):
    source = fma(tmp_path / "fma")
    result = run("fma-small", source, "--root", tmp_path / "root", "-j", 1, "--min-seconds", 1)
    entries = listed(tmp_path / "root", "fma-small")
    assert entries["000002"]["License"] == "unknown (see FMA metadata)"
    assert "098565" in entries
    assert "licences and genres are unknown" in result.stderr
    assert len(result.stderr.splitlines()) == 2 + 2 + 4
    assert (
        "5 songs there already"
        not in run("fma-small", source, "--root", tmp_path / "root", "-j", 1, "--min-seconds", 1, "-q").stdout
    )


def test_folder(tmp_path):
    source, root = tmp_path / "songs", tmp_path / "root"
    write(source / "One/singing.flac", tone(300))
    write(source / "One/choir.ogg", tone(500))
    write(source / "One/drums.wav", tone(100, rate=48000), 48000)
    write(source / "Two/mixture.mp3", tone(200))
    arguments = ("folder", source, "--root", root, "--map", "singing=vocals", "--map", "choir=vocals")
    result = run(*arguments, "--license", "CC BY 4.0")
    assert listed(root, "folder")["One"]["License"] == "CC BY 4.0"
    song = root / "audio/music/folder/One"
    assert {path.stem for path in song.glob("*.wav")} == set(STEMS)
    assert not read(song / "bass.wav").any() and not read(song / "other.wav").any()
    vocals, drums, mixture = (
        read(song / f"{stem}.wav").astype(int) for stem in ("vocals", "drums", "mixture")
    )
    assert np.abs(mixture - vocals - drums).max() <= 1
    assert frequency(drums[:, 0]) == 100
    assert "One: has no mixture: it is the sum of the stems" in result.stderr
    assert "2 songs converted" in result.stdout
    assert "0 songs converted (0 files in" in run(*arguments).stdout

    assert "the song 'One' and 1 more is already in" in run(*arguments, "--name", "mine", status=2).stderr
    run("--remove", "folder", "--root", root)
    run(*arguments, "--name", "mine")
    assert list(listed(root, "mine")) == ["One", "Two"]


def test_a_flat_folder(tmp_path):
    source, root = tmp_path / "songs", tmp_path / "root"
    write(source / "One.wav", tone(440))
    mp3(source / "Two.mp3", tone(300, channels=1))
    ffmpeg("-i", source / "One.wav", source / "Three.m4a")
    result = run("folder", source, "--root", root, "-j", 1, status=1)
    assert list(listed(root, "folder")) == ["One", "Two"]
    assert frequency(read(root / "audio/music/folder/Two/mixture.wav")[:, 0]) == 300
    assert "Three: left out: Three.m4a cannot be decoded" in result.stderr
    assert re.search(r"2 files in .* not named after a stem", result.stderr)
    report = json.loads((root / "metadata/folder.ingest.json").read_bytes())
    assert [song["Track Name"] for song in report["Left Out"]] == ["Three"]


def test_remove(tmp_path):
    root = make_plausible_root(tmp_path / "root", test={})
    write(tmp_path / "src/Song/vocals.wav", tone(440))
    run("folder", tmp_path / "src", "--root", root, "-j", 1, "--scenes", "--name", "mine")
    before = tree_bytes(root)
    made = root / "audio/at_mic_music/mine/Song-hlp_0001/vocals.wav"
    write(made, tone(440))
    result = run("--remove", "mine", "--root", root)
    assert f"mine: 1 song removed from {root}/audio/music/mine" in result.stdout
    assert "scenes.train.json: 4 scenes of songs that are gone (cadrender scenes --root" in result.stdout
    assert f"{made.parents[1]}: the files rendered from the songs are left alone" in result.stdout
    after = tree_bytes(root)
    assert {name for name in before if name not in after} == {
        "metadata/mine.json",
        "metadata/mine.ingest.json",
        "metadata/mine.manifest.jsonl",
        *(f"audio/music/mine/Song/{stem}.wav" for stem in STEMS),
    }
    assert made.exists()
    assert (
        "no ingested corpus 'mine'; there are: none"
        in run("--remove", "mine", "--root", root, status=2).stderr
    )


def test_a_root_of_another_rate(tmp_path):
    root = make_plausible_root(tmp_path / "root", test={})
    for file in (root / "audio/hrtf").iterdir():
        samples, _ = soundfile.read(file)
        write(file, samples, 48000, subtype="PCM_24")
    for stem in STEMS[1:]:
        write(tmp_path / f"src/Song/{stem}.wav", tone(440, 1.0))
    for name in ("scenes", "musdb18"):
        (root / f"metadata/{name}.train.json").unlink()
    result = run("folder", tmp_path / "src", "--root", root, "-j", 1)
    assert "songs are written at 48000 Hz: other commands need sample_rate=48000" in result.stderr
    assert soundfile.info(root / "audio/music/folder/Song/bass.wav").frames == 48000
    for words in (["scenes"], ["generate", "sample_rate=48000", "-j", "1"], ["check", "sample_rate=48000"]):
        assert invoke(words[0], "--root", root, *words[1:]).returncode == 0, words
    assert soundfile.info(next((root / "audio/at_mic_music").rglob("bass.wav"))).samplerate == 48000
    run("folder", tmp_path / "src", "--root", root, "-j", 1, "--sample-rate", 44100)
    assert soundfile.info(root / "audio/music/folder/Song/bass.wav").samplerate == 44100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--remove", "mine"), "--remove NAME and --root ROOT are needed"),
        (("--root", "{root}"), "--remove NAME and --root ROOT are needed"),
        (("--remove", "mine", "folder", "{src}", "--root", "{root}"), "use one of them"),
        (("--root", "{root}", "folder", "{src}"), "--root ROOT belongs after folder"),
        (("folder", "{src}", "--root", "{root}", "--sample-rate", "100"), "100 is not in the range"),
        (("folder", "{src}", "--root", "{root}", "--map", "vocals"), "expected NAME=STEM"),
        (("folder", "{src}", "--root", "{root}", "--map", "a=voice"), "unknown stem 'voice'"),
        (("folder", "{src}", "--root", "{root}", "--name", "train"), "'train' is a split"),
        (
            ("folder", "{src}", "--root", "{root}", "-j", "0"),
            "0 is neither -1 (all CPUs) nor a number from 1 to 1024",
        ),
        (("fma-small", "{src}", "--root", "{root}", "--min-seconds", "nan"), "nan is not a number"),
        (("folder", "{src}", "--root", "{root}", "--shard", "3/2"), "--shard '3/2' is not of the form I/N"),
        (
            ("folder", "{src}", "--root", "{root}", "--shard", "1/2", "--scenes"),
            "--scenes needs the whole corpus",
        ),
        (("folder", "{src}", "--root", "{root}", "--backend", "dask"), "--scheduler ADDRESS go together"),
        (("folder", "{src}"), "--root"),
        (("medleydb", "{src}", "--root", "{root}"), "no song found"),
        (("bach10", "{src}", "--root", "{root}"), "no chorale found"),
        (("fma-small", "{src}", "--root", "{root}"), "no clip found"),
        (("folder", "{src}/none", "--root", "{root}"), "does not exist; expected the corpus's folder"),
        (("musdb", "{src}", "--root", "{root}"), "musdb"),
    ],
)
def test_wrong_usage(tmp_path, arguments, message):
    write(tmp_path / "src/Song/mixture.wav", tone(440))
    places = {"src": tmp_path / "src", "root": tmp_path / "root"}
    result = run(*(argument.format(**places) for argument in arguments), status=2)
    assert message in result.stderr
    assert not (tmp_path / "root").exists()


@contextlib.contextmanager
def converting(source, root, jobs):
    """A process that has begun to write."""
    with running("ingest", "folder", source, "--root", root, "-j", jobs) as process:
        wait_for(lambda: list(root.glob("audio/music/folder/*/.*.part")), process)
        yield process


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """A tree of 12 songs that take a moment each, and the root that an undisturbed run makes of it."""
    folder = tmp_path_factory.mktemp("songs")
    signal = np.random.default_rng(1).uniform(-0.2, 0.2, (8 * 48000, 2))
    for n in range(12):
        for stem in ("vocals", "drums"):
            write(folder / "src" / f"Song {n}" / f"{stem}.wav", signal[n * 1000 :], 48000)
    run("folder", folder / "src", "--root", folder / "root", "-j", 1)
    return folder / "src", made(folder / "root")


def made(root):
    """Every file but the manifest, whose lines come as songs are completed."""
    return {name: content for name, content in tree_bytes(root).items() if "manifest" not in name}


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_and_run_again_the_bytes_are_the_same(tmp_path, songs, jobs):
    source, expected = songs
    with converting(source, tmp_path / "root", jobs) as process:
        os.killpg(process.pid, signal.SIGKILL)
    assert list((tmp_path / "root").glob("audio/music/folder/*/.*.part"))  # the kill did come in the middle
    assert not (tmp_path / "root/metadata/folder.json").exists()
    run("folder", source, "--root", tmp_path / "root", "-j", 1)
    assert made(tmp_path / "root") == expected


@pytest.mark.slow
def test_its_parent_killed_no_worker_goes_on(tmp_path, songs):
    source, expected = songs
    with converting(source, tmp_path / "root", 2) as process:
        everybody = family(process)
        assert len(everybody) > 2
        process.kill()
        process.communicate()
        assert_gone(everybody, 2)
    run("folder", source, "--root", tmp_path / "root", "-j", 2)
    assert made(tmp_path / "root") == expected


@pytest.mark.slow
def test_a_worker_killed_the_others_do_its_work(tmp_path, songs):
    source, expected = songs
    with converting(source, tmp_path / "root", 2) as process:
        workers = [each for each in family(process)[1:] if "resource_tracker" not in " ".join(each.cmdline())]
        workers[0].kill()
        _, stderr = process.communicate(timeout=patience(120))
    assert process.returncode == 0, stderr
    assert "a worker process was killed" in stderr and "Traceback" not in stderr
    assert_gone(workers, 2)
    assert made(tmp_path / "root") == expected
    assert not list((tmp_path / "root").rglob("*.part"))


@pytest.mark.parametrize(
    ("jobs", "number"),
    [
        (1, signal.SIGINT),
        *(
            pytest.param(jobs, number, marks=pytest.mark.slow)
            for jobs in (1, 2)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if (jobs, number) != (1, signal.SIGINT)
        ),
    ],
)
def test_interrupted_it_ends_at_once_and_says_how_to_go_on(tmp_path, songs, jobs, number):
    source, expected = songs
    with converting(source, tmp_path / "root", jobs) as process:
        everybody = family(process)
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        began = time.monotonic()
        _, stderr = process.communicate(timeout=patience(30))
        assert time.monotonic() - began < patience(2)
        assert_gone(everybody, 2)
    assert process.returncode == 128 + number
    *before, last = stderr.splitlines()
    assert last == "interrupted: every file in its place is whole; run the same command again to go on"
    assert not [line for line in before if "process" not in line and "folder" not in line]
    assert not list((tmp_path / "root").rglob("*.part"))
    run("folder", source, "--root", tmp_path / "root", "-j", 1)
    assert made(tmp_path / "root") == expected


def test_shards_and_a_dry_run(tmp_path, songs):
    source, expected = songs
    root = tmp_path / "root"
    result = run("folder", source, "--root", root, "--dry-run")
    assert "0 songs complete; 60 files to convert" in result.stderr and result.stdout == ""
    assert not root.exists()
    for index in (2, 1):
        result = run("folder", source, "--root", root, "--shard", f"{index}/2", "-j", 1)
        assert f"shard {index}/2 of the work" in result.stderr
        assert result.stdout.startswith("folder: 6 songs converted (30 files in ")
    assert made(root) == expected
    result = run("folder", source, "--root", root, "--dry-run", "--sample-rate", 48000)
    assert "60 files are converted again: another format is requested" in result.stderr
    assert made(root) == expected


@pytest.mark.slow
def test_two_runs_share_the_work(tmp_path, songs):
    source, expected = songs
    root = tmp_path / "root"
    with contextlib.ExitStack() as processes:
        words = ("ingest", "folder", source, "--root", root, "-j", 1)
        both = [processes.enter_context(running(*words)) for _ in range(2)]
        said = [process.communicate(timeout=patience(120)) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    # Files, as both may have made some of one song.
    files = [int(re.findall(r"\((\d+) files? in", stdout)[0]) for stdout, _ in said]
    assert sum(files) == 60 and min(files) > 0
    assert made(root) == expected


@pytest.mark.slow
def test_on_a_dask_cluster(tmp_path, songs):
    distributed = pytest.importorskip("distributed")
    source, expected = songs
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        result = run(
            "folder", source, "--root", tmp_path / "root", "--backend", "dask", "--scheduler", address
        )
    assert "2 workers" in result.stderr
    assert made(tmp_path / "root") == expected


def test_scenes_that_could_not_be_drawn_again_stop_it_before_any_work(tmp_path):
    root = make_plausible_root(tmp_path / "root", test={})
    edit_json(root / "metadata/scenes.train.json", lambda scenes: scenes.popitem())
    before = tree_bytes(root)
    write(tmp_path / "src/Song/mixture.wav", tone(440))
    result = run("folder", tmp_path / "src", "--root", root, "--scenes", status=2)
    assert "scenes.train.json: not drawn by cadrender" in result.stderr
    assert "cadrender scenes --force" in result.stderr
    assert tree_bytes(root) == before


def test_a_song_that_was_half_replaced_is_not_used(tmp_path):
    """As after a kill between two of its stems; one may edit what was ingested."""
    source, root = tmp_path / "songs", make_root(tmp_path / "root")
    drums = root / "audio/music/mine/Gamma/drums.wav"
    for version in (1, 2):
        for number, stem in enumerate(STEMS):
            write(source / f"Gamma/{stem}.wav", tone(100.0 * (version + number), level=0.1))
        old = drums.exists() and (drums.read_bytes(), drums.stat().st_mtime_ns)
        run("folder", source, "--root", root, "--name", "mine", "-j", 1)

    def song():
        catalogue = AtMicCatalogue(load_settings(root=root), heads="all")
        return catalogue.song(next(sample for sample in catalogue.samples if sample.track.name == "Gamma"))

    new = drums.read_bytes()
    assert song().files["drums"] == drums
    manifest = root / "metadata/mine.manifest.jsonl"
    *lines, durable, ended = manifest.read_text().splitlines()
    assert durable.startswith('{"durable"') and ended.startswith('{"ended"')
    manifest.write_text("".join(f"{line}\n" for line in lines))
    drums.write_bytes(old[0])
    os.utime(drums, ns=(old[1], old[1]))
    with pytest.raises(AudioError, match=r"drums\.wav: not what was written when the song was ingested"):
        song()
    os.utime(drums)
    assert song()
    run("folder", source, "--root", root, "--name", "mine", "-j", 1)
    assert drums.read_bytes() == new and song()


def test_damage_of_an_ingested_song_before_it_is_rendered(tmp_path):
    """What is made from it says nothing: it was made from the same bytes."""
    root = make_plausible_root(tmp_path / "root", test={})
    write(tmp_path / "src/Song/vocals.wav", tone(440))
    run("folder", tmp_path / "src", "--root", root, "-j", 1, "--scenes", "--name", "mine")
    vocals = root / "audio/music/mine/Song/vocals.wav"
    content, status = bytearray(vocals.read_bytes()), vocals.stat()
    content[-1000] ^= 1
    vocals.write_bytes(content)
    os.utime(vocals, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert invoke("generate", "--root", root, "-j", 1).returncode == 0
    done = invoke("verify", "--root", root)
    assert done.returncode == 1
    assert f"{vocals}: damaged: its bytes are not those" in done.stdout
    vocals.unlink()
    run("folder", tmp_path / "src", "--root", root, "-j", 1, "--name", "mine")
    assert invoke("generate", "--root", root, "-j", 1).returncode == 0
    assert invoke("verify", "--root", root).returncode == 0
