import re
import subprocess
import sys
import time

import pytest

from cadrender.demo import make_root
from tests.roots import command, environment, invoke


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli-report") / "my root"
    make_root(folder, songs=1, subjects=2)
    return folder


@pytest.mark.slow
def test_a_demo_root(root):
    done = invoke("report", "--root", root, "--seconds", 2)
    file = root / "cadrender-report.train.html"
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        rf"{re.escape(str(file))}: [\d.]+ (MB|kB), 4 scenes to listen to, 0 of 4 samples rendered\n",
        done.stdout,
    )
    page = file.read_text()
    assert 1e5 < len(page) < 8e6
    assert page.count("<audio") == 8
    assert f"cadrender report --root &#39;{root}&#39; --seconds 2" in page


@pytest.mark.slow
def test_options(root, tmp_path):
    file = tmp_path / "page.html"
    done = invoke(
        "report", "path.root=" + str(root), "-o", file, "--scenes", "scene_10003", "--examples", 3, "-q"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    page = file.read_text()
    assert page.count("<article") == 1 and "scene_10003" in page


def test_a_foreign_file_stays(root, tmp_path):
    file = tmp_path / "page.html"
    file.write_text("mine")
    done = invoke("report", "--root", root, "--output", file)
    assert done.returncode == 2 and file.read_text() == "mine"
    assert done.stderr == (
        f"cadrender: {file}: exists and is not a cadrender report (use another --output, or --force to replace it)\n"
    )
    assert invoke("report", "--root", root, "--output", file, "--examples", 0, "--force").returncode == 0
    assert "cadrender report" in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--scenes", "no*"],
            r"--scenes 'no\*': no scene of .*scenes\.train\.json has such an id, song or sample",
        ),
        (["--examples", -1], "examples"),
        (["--seconds", 0], "seconds"),
        (["--split", "other"], "split"),
    ],
)
def test_wrong_usage_is_one_line(root, arguments, message):
    done = invoke("report", "--root", root, *arguments)
    assert done.returncode == 2 and re.search(message, done.stderr) and "Traceback" not in done.stderr


def test_no_root(tmp_path):
    done = invoke("report", "--root", tmp_path / "nothing")
    assert done.returncode == 2
    assert (
        done.stderr
        == f"cadrender: {tmp_path / 'nothing'}: no such folder; a root holds audio/ and metadata/\n"
    )
    assert invoke("report", "--root", tmp_path).returncode == 2
    assert "path.root is not set" in invoke("report").stderr


@pytest.mark.parametrize("library", ["matplotlib", "jinja2", "markupsafe"])
def test_without_its_libraries(root, tmp_path, library):
    hidden = (
        f"import sys; sys.modules[{library!r}] = None; from cadrender.cli import main; main(sys.argv[1:])"
    )
    file = tmp_path / "page.html"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "report", "--root", root, "-o", file],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and not file.exists()
    assert done.stderr.count("\n") == 1 and "pip install 'cadrender[report]'" in done.stderr


def test_what_is_missing_is_told(root, tmp_path):
    (tmp_path / "root/metadata").mkdir(parents=True)
    done = invoke("report", "--root", tmp_path / "root")
    assert done.returncode == 0
    assert f"gains.json: no such file (cadrender gains --root {tmp_path / 'root'})" in done.stderr


def test_help_is_instant():
    began = time.monotonic()
    done = subprocess.run(
        command("report", "--help"), env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "--scenes" in done.stdout
    assert time.monotonic() - began < 5
    heavy = "[name for name in ('numpy', 'matplotlib', 'jinja2') if name in sys.modules]"
    imported = f"import sys; from cadrender.cli import report; print({heavy})"
    done = subprocess.run([sys.executable, "-c", imported], env=environment(), capture_output=True, text=True)
    assert done.stdout == "[]\n"
