import json

import pytest

from cadrender.config import load_settings
from cadrender.metadata.gains import build_gains, gains_json
from cadrender.metadata.listeners import Listener, listeners_json
from cadrender.metadata.positions import HeadPosition
from cadrender.report import write_report
from tests.report import browser as chromium
from tests.roots import invoke, make_root, make_song, write_metadata

# Names that a careless page would take for its own.
HOSTILE = '"><img src=x onerror=alert(1)> & <script>alert(2)<b>'
SONGS = ("Ñandú & Co - It's <i>late", HOSTILE)
POSITIONS = (
    HeadPosition("hlp_0001", "VP_E1", -37.5, 22.5, "BTE_fr"),
    HeadPosition("hlp_0002", "VP_E1", -30, 22.5, "BTE_fr"),
    HeadPosition("hlp_0003", "VP_<b>2", -30.0, 30.0, "BTE_fr"),
)
CFS = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)
LISTENERS = (
    Listener("L0001", CFS, (10, 15, 20, 30, 40, 50, 60, 70), (10, 10, 15, 20, 30, 45, 55, 60)),
    Listener("L0002", CFS, (40, 45, 50, 60, 65, 70, 80, 85), (45, 45, 55, 65, 70, 75, 85, 90)),
    Listener("<u>L3", (250, 500), (0, 5), (5, 5)),
)


def fill(root):
    """Add gains, listeners and who listens to a root that has neither."""
    metadata = root / "metadata"
    (metadata / "gains.json").write_text(gains_json(build_gains()))
    (metadata / "listeners.train.json").write_text(listeners_json(LISTENERS))
    scenes = json.loads((metadata / "scenes.train.json").read_text())
    heard = {scene: ["L0002", "<u>L3"] for scene in scenes}
    (metadata / "scene_listeners.train.json").write_text(json.dumps(heard))
    return root


@pytest.fixture
def bare(tmp_path):
    """A root that is not rendered, for a test of its own."""
    return fill(make_root(tmp_path / "root", songs=SONGS, seconds=(2.1, 1.3), positions=POSITIONS))


@pytest.fixture
def small(tmp_path):
    """A root with a song and no head, for a test that does not look at the page."""
    root = tmp_path / "root"
    make_song(root, "Song", 0.5, 1)
    write_metadata(root, ("Song",), (), ())
    return root


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """A complete root, rendered; nobody changes it."""
    root = tmp_path_factory.mktemp("report") / "a <em>root"
    fill(make_root(root, songs=SONGS, seconds=(2.1, 1.3), positions=POSITIONS))
    done = invoke("generate", "--root", root, "-j", 1)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="session")
def page(rendered, tmp_path_factory):
    """The report on it."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    write_report(load_settings(root=rendered), file, seconds=1.5, command="cadrender report '<x>'")
    return file


@pytest.fixture(scope="session")
def around(tmp_path_factory):
    """The report on one head between loudspeakers at unusual places: straight ahead, and behind the ears."""
    positions = (
        HeadPosition("hlp_0001", "VP_E1", -110, 110, "BTE_fr"),
        HeadPosition("hlp_0002", "VP_E1", 0, 0, "BTE_fr"),
    )
    root = make_root(tmp_path_factory.mktemp("around"), songs=SONGS, seconds=(1.1, 0.8), positions=positions)
    return write_report(load_settings(root=fill(root)), seconds=0.5).file


@pytest.fixture
def browser(tmp_path):
    """A headless Chromium with a profile of its own."""
    if chromium.find() is None:
        pytest.skip(f"no browser is installed: none of {', '.join(chromium.NAMES)}")
    with chromium.Browser(tmp_path / "profile") as opened:
        yield opened
