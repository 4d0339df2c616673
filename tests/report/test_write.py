import base64
import hashlib
import re
import resource
import shutil
import signal
from html.parser import HTMLParser

import pytest

from cadrender.config import load_settings
from cadrender.errors import CadrenderError, UsageError
from cadrender.report import default_file, write_report
from cadrender.store import AtomicFile
from tests.report.conftest import HOSTILE, LISTENERS, POSITIONS, SONGS

# What a page without surprises is made of.
_ELEMENTS = (
    "html head meta title style body header p h1 h2 h3 h4 code dl div dt dd small span nav ul li a main section "
    "article figure figcaption svg g path rect circle ellipse line text tspan use defs clippath image i bdi button "
    "input audio fieldset legend table caption thead tbody tr th td details summary footer script"
)
ELEMENTS = set(_ELEMENTS.split())


class Page(HTMLParser):
    """What a browser makes of a page: its elements, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self._open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_data(self, data):
        if self._open[-1:] not in (["script"], ["style"]):
            self.text.append(data)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html(page):
    return page.read_text()


@pytest.fixture(scope="module")
def parsed(html):
    return Page(html)


def settings(root):
    return load_settings(root=root)


def test_names_are_text_and_nothing_else(parsed):
    assert {tag for tag, _ in parsed.elements} <= ELEMENTS
    assert len(parsed.all("script")) == 1
    assert not [key for _, attributes in parsed.elements for key in attributes if key.startswith("on")]
    for text in (
        HOSTILE,
        SONGS[0],
        LISTENERS[2].id,
        POSITIONS[2].subject,
        "a <em>root",
        "cadrender report '<x>'",
    ):
        assert any(text in data for data in parsed.text), text


def test_nothing_is_fetched(parsed):
    for tag, attributes in parsed.elements:
        for key in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
            value = attributes.get(key, "#")
            assert value.startswith(("#", "data:image/png;base64,", "data:audio/flac;base64,")), (
                tag,
                key,
                value[:80],
            )
    assert "@import" not in parsed.all("style") and not parsed.all("link")


def test_only_the_pages_own_script_may_run(html, parsed):
    (policy,) = [meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv")]
    script = re.findall("<script>(.*?)</script>", html, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert "url(" not in re.findall("<style>(.*?)</style>", html, re.DOTALL)[0]


def test_every_picture_says_what_it_shows_and_every_control_what_it_does(parsed):
    pictures = [svg for svg in parsed.all("svg") if svg.get("aria-hidden") != "true"]
    assert len(pictures) > 20
    assert all(svg["role"] == "img" and len(svg["aria-label"]) > 20 for svg in pictures)
    assert all(audio.get("aria-label") and "controls" in audio for audio in parsed.all("audio"))
    assert all(seek.get("aria-label") for seek in parsed.all("input"))


def test_ids_are_unique_and_links_lead_somewhere(parsed):
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(link["href"][1:] in ids for link in parsed.all("a"))
    assert all(part["aria-labelledby"] in ids for part in parsed.all("section"))


def test_it_says_what_is_there(parsed):
    text = " ".join("".join(parsed.text).split())
    for part in (
        "Everything that the scenes name is rendered.",
        "3 listeners: the softest tone",
        "5 HRIRs of 2 heads",
        "Of 7 scenes",
        "3 of 3 positions are used",
        "Levels of 30 files, as the manifest has them.",
        "All 6 samples are complete.",
        "L0002 (moderately severe), <u>L3",
    ):
        assert part in text, part
    assert len(parsed.all("audio")) == 8


def test_a_root_that_is_not_rendered_says_so_and_can_be_heard(bare):
    made = write_report(settings(bare), seconds=0.5)
    assert (made.scenes, made.samples, made.complete) == (4, 6, 0)
    assert made.file == default_file(settings(bare)) == bare / "cadrender-report.train.html"
    assert made.bytes == made.file.stat().st_size
    page = Page(made.file.read_text())
    text = "".join(page.text)
    assert "6 samples of 6 not rendered" in text and f"cadrender generate --root {bare}" in text
    assert "rendered for this page" in text and "measured for this page" in text
    assert len(page.all("audio")) == 8
    assert not (bare / "audio/at_mic_music").exists()


def test_a_fresh_root_says_what_to_do(bare, tmp_path):
    root = tmp_path / "fresh"
    (root / "metadata").mkdir(parents=True)
    shutil.copytree(bare / "audio", root / "audio")
    shutil.copy(bare / "metadata/musdb18.train.json", root / "metadata")
    made = write_report(settings(root))
    text = "".join(Page(made.file.read_text()).text)
    for command in ("positions", "gains", "scenes"):
        assert f"cadrender {command} --root {root}" in text
    assert "There are no scenes to listen to yet." in text and "5 HRIRs" in text
    assert len(made.problems) == 5 and made.scenes == 0


def test_a_root_without_songs_shows_what_is_rendered(rendered, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(rendered, root)
    shutil.rmtree(root / "audio/music")
    made = write_report(settings(root), seconds=0.5)
    assert (made.scenes, made.samples, made.complete, made.problems) == (4, 6, 6, ())
    page = Page(made.file.read_text())
    text = "".join(page.text)
    assert len(page.all("audio")) == 4 and text.count("the song is not in this root") == 4
    assert "All 6 samples are complete." in text and "1 problem: see below." in text
    assert text.count(f"{root / 'audio/music'}: no such folder") == 1


def test_any_loudspeaker_and_a_single_head(around):
    text = " ".join("".join(Page(around.read_text()).text).split())
    assert text.count("Straight ahead, 0°") == 1 and "Right loudspeaker, 0°" not in text
    assert "Left loudspeaker, 110°" in text and "Right loudspeaker, 110°" in text
    assert "4 HRIRs of 1 head:" in text


def test_clipped_and_incomplete_files_are_listed(rendered, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(rendered, root)
    file = root / "metadata/at_mic_music.train.manifest.jsonl"
    file.write_text(file.read_text().replace('"clipped": 0', '"clipped": 1234', 1))
    (root / f"audio/at_mic_music/train/{SONGS[0]}-hlp_0002/bass.wav").unlink()
    shutil.rmtree(root / f"audio/at_mic_music/train/{SONGS[0]}-hlp_0003")
    drums = root / f"audio/at_mic_music/train/{SONGS[0]}-hlp_0001/drums.wav"
    drums.write_bytes(drums.read_bytes()[:-8])
    text = "".join(Page(write_report(settings(root), examples=0).file.read_text()).text)
    assert "1\u202f234 PCM values clipped in 1 of 23 files." in text
    assert "3 samples of 6 not complete" in text and "no bass" in text and "all files" in text
    assert "drums: truncated: 8 bytes fewer" in text
    assert "3 complete, 2 incomplete, 1 missing" in text


@pytest.mark.parametrize("damage", ["{", "[]", '{"L1": {"name": "</script><script>alert(1)</script>"}}'])
def test_what_metadata_hold_is_text_even_in_messages(bare, damage):
    (bare / "metadata/listeners.train.json").write_text(damage)
    page = Page(write_report(settings(bare), examples=0).file.read_text())
    assert len(page.all("script")) == 1 and {tag for tag, _ in page.elements} <= ELEMENTS


def test_levels_that_no_ear_has_are_not_drawn(bare):
    file = bare / "metadata/listeners.train.json"
    file.write_text(file.read_text().replace("10,", "1e300,", 1))
    text = "".join(Page(write_report(settings(bare), examples=0).file.read_text()).text)
    assert "1 audiogram with levels that no ear has is left out" in text


def test_a_report_is_replaced_and_nothing_else(small, tmp_path):
    file = tmp_path / "page.html"
    file.write_text("<!doctype html><title>mine</title>")
    with pytest.raises(UsageError, match="not a cadrender report"):
        write_report(settings(small), file, examples=0)
    assert "mine" in file.read_text()
    write_report(settings(small), file, examples=0, force=True)
    first = file.stat().st_ino
    write_report(settings(small), file, examples=0)
    assert file.stat().st_ino != first, "replaced, not written into"
    assert not list(tmp_path.glob(".*"))


def test_the_mark_must_stand_at_the_beginning(small, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(" " * 5000 + '<meta name="generator" content="cadrender report 1">')
    with pytest.raises(UsageError, match="--force"):
        write_report(settings(small), file, examples=0)


def test_a_link_is_replaced_and_what_it_leads_to_is_left(small, tmp_path):
    target, link = tmp_path / "target.html", tmp_path / "link.html"
    target.write_text('<meta name="generator" content="cadrender report 1">')
    link.symlink_to(target)
    before = target.read_text()
    write_report(settings(small), link, examples=0)
    assert not link.is_symlink() and target.read_text() == before


def test_places_that_cannot_be_written(small, tmp_path):
    with pytest.raises(UsageError, match="a folder; give a file"):
        write_report(settings(small), tmp_path, examples=0)
    (tmp_path / "file").touch()
    with pytest.raises(CadrenderError, match="file"):
        write_report(settings(small), tmp_path / "file" / "report.html", examples=0)
    made = write_report(settings(small), tmp_path / "new" / "folder" / "report.html", examples=0)
    assert made.file.is_file()


def test_two_at_once_do_not_mix(small, tmp_path):
    file = tmp_path / "report.html"
    with AtomicFile(file), pytest.raises(CadrenderError, match="another process"):
        write_report(settings(small), file, examples=0)
    assert not file.exists()


def test_a_full_disk_leaves_the_old_report(small, tmp_path):
    file = tmp_path / "report.html"
    write_report(settings(small), file, examples=0)
    before = file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(CadrenderError, match="cannot be written"):
            write_report(settings(small), file, examples=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert file.read_bytes() == before and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "options", [{"examples": -1}, {"seconds": 0.1}, {"seconds": 61}, {"scenes": ["none*"]}]
)
def test_numbers_and_patterns_are_checked(bare, options):
    with pytest.raises(UsageError):
        write_report(settings(bare), **options)
    assert not default_file(settings(bare)).exists()


@pytest.mark.slow
def test_the_same_root_gives_the_same_page(bare, tmp_path):
    pages = []
    for k in range(2):
        write_report(settings(bare), tmp_path / f"{k}.html", seconds=0.5)
        page = (tmp_path / f"{k}.html").read_text()
        page = re.sub(r"f\d+[mp][0-9a-f]{10}", "id", page)
        pages.append(re.sub(r"on \d{4}-\d\d-\d\d \d\d:\d\d", "", page))
    assert pages[0] == pages[1]
