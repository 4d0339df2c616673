"""README and the documentation pages: their examples run unchanged, and no figure has two values."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile

import cadrender
from benchmarks import markdown, overview
from cadrender.demo import make_root
from cadrender.errors import UsageError
from cadrender.mount.places import load_fuse
from tests import pages
from tests.clusters import cluster, wait_for
from tests.corpora.trees import medleydb_song
from tests.roots import REPOSITORY, head_response, write_wav
from tests.sofas import make_sofa


def run_python(text, folder):
    """The output of an example, run next to a demo folder."""
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """A folder with a demo root, not rendered; copy it to change it."""
    folder = tmp_path_factory.mktemp("beside")
    make_root(folder / "cadrender-demo", songs=1, subjects=1)
    return folder


@pytest.mark.slow
def test_parts_are_read_as_the_readme_shows(beside):
    said = run_python(pages.python_under("README.md", "Read a part"), beside)
    assert said == ["scene_10001 (264600, 2) (44100, 2)"]


@pytest.mark.slow
def test_parts_are_read_as_their_page_shows(beside):
    said = run_python(pages.python_under("docs/on-demand.md", "Read a part"), beside)
    assert said[0].startswith("scene_10001 ")
    assert re.fullmatch(r"\(264600, 2\) \d+ 44100", said[1])
    assert said[2] == "(44100, 2)"
    assert re.fullmatch(r"L\d{4} \(44100, 2\)", said[3])


@pytest.mark.slow
def test_all_that_commands_do_is_done_from_python(tmp_path, beside):
    shutil.copytree(beside, tmp_path, dirs_exist_ok=True)
    everything = run_python(pages.python_under("docs/api.md", "Python"), tmp_path)
    assert everything[0] == "<Plan: 20 files of samples, 4 files of targets to make>"
    assert everything[1] == "[(4, 'samples'), (4, 'targets')] []"
    assert everything[2] == "[]"
    assert everything[3].startswith("[")
    assert re.fullmatch(r"\(\d+, 2\) -\d+\.\d+ LUFS", everything[4])


def test_both_commands_stand_in_the_readme_in_one_line_each():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "    python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/cadrender demo\n" in text
    assert "    python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest\n" in text


def test_the_readme_has_one_table_of_figures_and_each_is_that_of_the_pages():
    assert markdown.read_block(markdown.README, "overview table") == overview.overview()
    text = markdown.README.read_text(encoding="utf-8")
    assert re.findall(r"^<!-- (\w.*?) -->$", text, re.MULTILINE) == ["overview table"]
    assert len(text.splitlines()) <= 150
    times = overview.Page("speed table").cell("**cadrender generate**", "against the reference")
    assert f"{float(times.split()[0]):.0f} times as\nfast on one core" in text


# Whole pages


MOUNT = "cadrender mount"


class Page:
    """A folder in which a page's examples run one after another, next to a demo root."""

    def __init__(self, folder):
        self.folder = folder
        self.root = folder / "cadrender-demo"
        programs = folder / "bin"
        programs.mkdir()
        for name, words in (("cadrender", "-m cadrender"), ("python", "")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            program.chmod(0o755)
        (folder / "docs").symlink_to(REPOSITORY / "docs")
        # What a reader would have substituted for the page's placeholders.
        self.means = {
            r"/(data|shared)/icassp_2024": str(self.root),
            r"/fast/": f"{folder}/fast/",
            r"\bROOT\b": str(self.root),
            r"/data/MedleyDB": f"{folder}/MedleyDB",
            r"-j (8|32)\b": "-j 2",
            r"--seconds 60": "--seconds 3",
        }

    def run(self, block):
        text = block.text
        if block.language == "python":
            done = self.call([sys.executable, "-c", text])
        else:
            for shown, meant in self.means.items():
                text = re.sub(shown, meant, text)
            if MOUNT in text:
                self.mount(text)
                return
            done = self.call(["bash", "-e", "-c", text])
        assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
        if block.shown_output is not None:
            assert done.stdout == block.shown_output

    def environment(self):
        return os.environ | {
            "PYTHONPATH": str(REPOSITORY),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "SLURM_ARRAY_TASK_ID": "3",
        }

    def call(self, words):
        return subprocess.run(
            words, cwd=self.folder, env=self.environment(), capture_output=True, text=True, check=False
        )

    def mount(self, text):
        """Read a file through the mount, then end it with Ctrl-C."""
        at_mic = self.root / "audio/at_mic_music"
        process = subprocess.Popen(
            ["bash", "-c", f"exec {text.strip()}"],
            cwd=self.folder,
            env=self.environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_for(lambda: at_mic.is_mount() or process.poll() is not None)
            assert process.poll() is None, process.stderr and process.stderr.read()
            root = cadrender.open_root(self.root)
            bass = root.at_mic(root.samples[0], "bass")
            file = at_mic / root.samples[0].path / "bass.wav"
            np.testing.assert_array_equal(soundfile.read(file, dtype="int16")[0], bass.read())
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
            subprocess.run(["fusermount3", "-u", "-z", "-q", str(at_mic)], check=False, capture_output=True)
        assert process.returncode in (0, 130)


@pytest.fixture
def page(tmp_path, beside):
    shutil.copytree(beside, tmp_path, dirs_exist_ok=True)
    return Page(tmp_path)


def without_scenes(page):
    """Songs, positions, gains and listeners to draw scenes from."""
    for file in page.root.glob("metadata/scene*.json"):
        file.unlink()


def songs_and_hrirs_alone(page):
    """A fresh root, and listeners."""
    for file in page.root.glob("metadata/*.json*"):
        if file.name not in ("musdb18.train.json", "listeners.train.json", "demo.json"):
            file.unlink()


def a_sofa_file(page):
    """The file that the page names, written by the test if Debian's package is not installed."""
    without_scenes(page)
    make_sofa(page.folder / "MIT_KEMAR_normal_pinna.sofa", azimuths=(0, 20, 30, 330, 340))


def hrirs_as_wav(page):
    for k, angle in enumerate(("p0.0", "n30.0", "p30.0")):
        write_wav(page.root / f"audio/hrtf/ear-KEMAR-{angle}.wav", head_response(128, 20, k), subtype="FLOAT")


def medleydb(page):
    songs = {"Band_Song": ["female singer", "drum set", "electric bass", "piano"], "Duo": ["violin", "cello"]}
    for song, instruments in songs.items():
        medleydb_song(
            page.folder / "MedleyDB/Audio", song, instruments, metadata=page.folder / "MedleyDB/Metadata"
        )


def nothing_rendered(page):
    """The mount's place is empty."""
    shutil.rmtree(page.root / "audio/at_mic_music", ignore_errors=True)


def rendered(page):
    assert page.call(["cadrender", "generate", "--root", page.root, "-j", "2", "-q"]).returncode == 0


# Prerequisites of the examples under a heading.
BEFORE = {
    "Your own heads": a_sofa_file,
    "HRIRs that are WAV files already": hrirs_as_wav,
    "A corpus": medleydb,
    "From songs and HRIRs alone": songs_and_hrirs_alone,
    "Mount it": nothing_rendered,
    "Start": rendered,
    "Training without stored files": rendered,
}


def needs(block):
    """Why a block cannot run here; empty if it can."""
    if "torch" in block.text or "train.py" in block.text:
        return "" if find_spec("torch") else "PyTorch is not installed"
    if MOUNT in block.text:
        try:
            load_fuse()
        except UsageError as error:
            return str(error)
    return ""


# Not run by the tests: they install things, or other tests run them under another name.
NOT_RUN = {
    "pip install cadrender torch soundfile": "the test's environment has it",
    "cadrender demo": "takes a minute; tests/demo",
    "dask scheduler": "tests/clusters.py starts it",
    "dask worker tcp://HOST:8786 --nthreads 1 --nworkers 8": "tests/clusters.py starts it",
}


EVERY_PAGE = ["README.md", *sorted(f"docs/{file.name}" for file in (REPOSITORY / "docs").glob("*.md"))]
RUN = ("bash", "python")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in EVERY_PAGE if any(block.language in RUN for block in pages.blocks(name))]
)
def test_examples_of_a_page_run(page, tmp_path, name):
    heading = None
    with ExitStack() as running:
        for block in pages.blocks(name):
            if block.language not in RUN:
                continue
            if block.heading != heading and block.heading in BEFORE:
                BEFORE[block.heading](page)
            heading = block.heading
            if "tcp://HOST:8786" in block.text:
                address, *_ = running.enter_context(cluster(tmp_path, REPOSITORY))
                page.means["tcp://HOST:8786"] = address
            lines = [line for line in block.text.splitlines() if line.split("  #")[0].strip() not in NOT_RUN]
            if not needs(block):
                page.run(replace(block, text="\n".join(lines) + "\n"))


def test_code_blocks_have_a_language_that_tells_whether_they_are_run():
    for file in ("README.md", *(f"docs/{f.name}" for f in (REPOSITORY / "docs").glob("*.md"))):
        for block in pages.blocks(file):
            known = ("python", "bash", "text", "json", "") if file != "README.md" else ("python", "bash", "")
            assert block.language in known or block.language.startswith("{"), (file, block)
            assert block.language or not re.search(
                r"^(cadrender|python|import) ", block.text, re.MULTILINE
            ), block


def test_every_public_name_is_on_the_page_of_the_api():
    text = (REPOSITORY / "docs/api.md").read_text(encoding="utf-8")
    for name in cadrender.__all__:
        assert getattr(cadrender, name) is not None
        assert name == "__version__" or re.search(rf"^\.\. (auto\w+|data):: {name}\b", text, re.MULTILINE), (
            name
        )


def test_links_of_the_readme_lead_to_files_and_headings():
    text = markdown.README.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\((.*?)\)", text) if not link.startswith("https://")]
    assert links
    for link in links:
        name, _, anchor = link.partition("#")
        page = (REPOSITORY / name).read_text(encoding="utf-8")
        headings = [
            line.strip("# ").lower().replace(" ", "-") for line in page.splitlines() if line[:1] == "#"
        ]
        assert not anchor or anchor in headings, link
