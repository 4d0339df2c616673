"""The page as a browser shows it."""

import io
import shutil

import matplotlib.image
import numpy as np
import pytest

from cadrender.config import load_settings
from cadrender.report import write_report
from tests.report.conftest import HOSTILE


@pytest.fixture
def opened(browser, page):
    browser.look(1280)
    browser.open(page.as_uri())
    return browser


def test_it_asks_nothing_of_the_network_and_complains_of_nothing(opened, page):
    opened.evaluate("scrollTo(0, document.body.scrollHeight)")
    opened.evaluate("document.querySelectorAll('button').forEach(button => button.click())")
    opened.evaluate("new Promise(done => setTimeout(done, 500))")
    assert opened.requests() == [page.as_uri()]
    assert opened.problems() == []


def test_names_do_not_run(opened):
    assert opened.evaluate("document.title") == "a <em>root: at the microphones"
    assert opened.evaluate("document.querySelectorAll('main img, main script, h3 b, h3 i').length") == 0
    titles = opened.evaluate("[...document.querySelectorAll('h3')].map(title => title.textContent)")
    assert HOSTILE in titles
    # What an injected script would meet:
    opened.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.owned = 1'}))"
    )
    assert opened.evaluate("window.owned") is None


LOADED = """Promise.all([...document.querySelectorAll('audio')].map(async audio => {
    while (audio.readyState < 1 && !audio.error) await new Promise(done => setTimeout(done, 20));
    return audio.error ? audio.error.message : audio.duration;
}))"""


def test_every_clip_can_be_played(opened):
    durations = opened.evaluate(LOADED)
    assert len(durations) == 8
    # Four scenes, songs in turn; the second song is shorter than asked for.
    assert durations == pytest.approx([1.5, 1.5, 1.3, 1.3] * 2, abs=0.01)
    shown = opened.evaluate("[...document.querySelectorAll('.length')].map(one => one.textContent)")
    assert set(shown) <= {"0:01", "0:02"} and len(shown) == 4


def test_the_switch_keeps_the_place(opened):
    opened.evaluate(LOADED)
    opened.evaluate(
        "window.wait = milliseconds => new Promise(done => setTimeout(done, milliseconds));"
        "window.player = document.querySelector('.player');"
        "window.clips = [...player.querySelectorAll('audio')];"
        "window.choices = [...player.querySelectorAll('.choice')];"
        "window.state = () => ({at: clips.map(c => c.currentTime), muted: clips.map(c => c.muted),"
        " paused: clips.map(c => c.paused), pressed: choices.map(c => c.getAttribute('aria-pressed'))});"
    )
    assert opened.evaluate("state()") == {
        "at": [0, 0],
        "muted": [True, False],
        "paused": [True, True],
        "pressed": ["false", "true"],
    }
    opened.evaluate("player.querySelector('.play').click()")
    opened.evaluate("(async () => { while (clips[1].currentTime < 0.4) await wait(10); })()")
    before, after = opened.evaluate(
        "(() => { const b = state(); choices[0].click(); return [b, state()]; })()"
    )
    assert before["muted"] == [True, False] and after["muted"] == [False, True]
    assert after["pressed"] == ["true", "false"] and after["paused"] == [False, False]
    assert after["at"][0] == pytest.approx(before["at"][1], abs=0.05) and after["at"][0] >= 0.35
    assert float(opened.evaluate("player.style.getPropertyValue('--at')")) == pytest.approx(
        after["at"][0] / 1.5, abs=0.05
    )
    opened.evaluate("wait(200)")
    later = opened.evaluate("state()")
    assert later["at"][0] > after["at"][0] or later["at"][0] < 0.3, "it plays on, or has begun again"
    opened.evaluate("player.querySelector('.play').click()")
    assert opened.evaluate("state()")["paused"] == [True, True]


def test_seeking_moves_both_clips_and_one_player_plays_at_a_time(opened):
    opened.evaluate(LOADED)
    at = opened.evaluate(
        "(async () => { const player = document.querySelector('.player');"
        "const seek = player.querySelector('.seek'); seek.value = 1; seek.dispatchEvent(new Event('input'));"
        "return [...player.querySelectorAll('audio')].map(clip => clip.currentTime); })()"
    )
    assert at == pytest.approx([1, 1], abs=0.01)
    playing = opened.evaluate(
        "(async () => { const plays = [...document.querySelectorAll('.play')];"
        "plays[0].click(); await new Promise(done => setTimeout(done, 100)); plays[1].click();"
        "await new Promise(done => setTimeout(done, 100));"
        "return [...document.querySelectorAll('.player')].map(p => p.classList.contains('playing')); })()"
    )
    assert playing == [False, True, False, False]


def test_a_head_can_be_highlighted(opened):
    opened.evaluate("window.chips = [...document.querySelectorAll('[data-pick]')]")
    assert opened.evaluate("chips.map(chip => chip.textContent)") == ["VP_<b>2", "VP_E1"]
    opened.evaluate("chips[1].click()")
    on = "[...document.querySelectorAll('[data-head].on')].map(line => line.dataset.head)"
    lines = opened.evaluate(on)
    assert lines and set(lines) == {"1"}
    stroke = "getComputedStyle(document.querySelector('[data-head=\"{}\"] path')).strokeOpacity"
    assert opened.evaluate(stroke.format(1)) == "1" and float(opened.evaluate(stroke.format(0))) < 0.5
    opened.evaluate("chips[1].click()")
    assert opened.evaluate(on) == []


@pytest.mark.parametrize("width", [320, 375, 768, 1280, 1920])
def test_it_fits_any_window(browser, page, width):
    browser.look(width)
    browser.open(page.as_uri())
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    outside = browser.evaluate(
        "[...document.querySelectorAll('main svg, .choice, .numbers, h3, footer p')]"
        ".filter(one => one.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert outside == 0
    smallest = browser.evaluate(
        "Math.min(...[...document.querySelectorAll('.chart text')].map(text => text.getBoundingClientRect().height))"
    )
    assert smallest >= (8 if width < 600 else 10), "text in pictures must stay legible"


@pytest.mark.parametrize("width", [375, 1280])
def test_any_angle_can_be_read(browser, around, width):
    browser.look(width)
    browser.open(around.as_uri())
    numbers = browser.evaluate(
        "[...document.querySelectorAll('.pictures figure:first-child text')].map(text => {"
        "const one = text.getBoundingClientRect(), all = text.closest('svg').getBoundingClientRect();"
        "return [text.textContent, one.left >= all.left && one.right <= all.right"
        " && one.top >= all.top && one.bottom <= all.bottom]; })"
    )
    assert {text for text, _ in numbers} == {"0°", "110°"}
    assert all(inside for _, inside in numbers)


@pytest.mark.parametrize("width", [375, 1280])
def test_a_single_head_can_be_seen(browser, around, width):
    browser.look(width)
    browser.open(around.as_uri())
    left, top, across, height = browser.evaluate(
        "(() => { const box = document.querySelector('#heads .three svg').getBoundingClientRect();"
        "return [box.left, box.top + scrollY, box.width, box.height]; })()"
    )
    image = matplotlib.image.imread(io.BytesIO(browser.screenshot(top, height)), format="png")[..., :3]
    image = image[:, round(left) : round(left + across)]
    for hue in ((0xBF, 0x4D, 0x2A), (0x2B, 0x6A, 0x94)):
        near = np.abs(image - np.array(hue) / 255).max(axis=2) < 0.1
        assert near.sum() > 100, "a line in full colour"


def test_a_player_without_the_song_plays_what_the_microphones_pick_up(browser, rendered, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(rendered, root)
    shutil.rmtree(root / "audio/music")
    browser.look(375)
    browser.open(write_report(load_settings(root=root), seconds=0.5).file.as_uri())
    assert browser.evaluate(LOADED) == pytest.approx([0.5] * 4, abs=0.01)
    playing = browser.evaluate(
        "(async () => { const player = document.querySelector('.player');"
        "player.querySelector('.play').click(); await new Promise(done => setTimeout(done, 200));"
        "return [player.classList.contains('playing'), player.querySelector('audio').muted,"
        " player.querySelector('.choice').textContent]; })()"
    )
    assert playing == [True, False, "At-mic"] and browser.problems() == []


def pixels(browser):
    image = matplotlib.image.imread(io.BytesIO(browser.screenshot()), format="png")
    return image[..., :3]


def test_light_and_dark(opened):
    light = pixels(opened)
    opened.look(1280, dark=True)
    dark = pixels(opened)
    assert light.mean() > 0.8 and dark.mean() < 0.25
    for image in (light, dark):  # something is drawn on it
        assert np.abs(image - image[0, 0]).max(axis=2).std() > 0.05
    # Every colour of the pictures follows: nothing keeps the light scheme's ink.
    ink = "getComputedStyle(document.querySelector('.chart text')).fill"
    assert opened.evaluate(ink) == "rgb(155, 159, 167)"
    opened.look(1280)
    assert opened.evaluate(ink) == "rgb(103, 106, 112)"


def test_without_scripts_there_are_plain_players(browser, page):
    browser.look(800)
    browser("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(page.as_uri())
    browser("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.evaluate("document.documentElement.className") == ""
    assert browser.evaluate("getComputedStyle(document.querySelector('audio')).display") != "none"
    assert browser.evaluate("getComputedStyle(document.querySelector('.play')).display") == "none"


def test_a_root_with_nothing_in_it_opens_too(browser, tmp_path):
    (tmp_path / "root/metadata").mkdir(parents=True)
    made = write_report(load_settings(root=tmp_path / "root"))
    browser.look(800)
    browser.open(made.file.as_uri())
    assert browser.problems() == []
    assert "cadrender gains" in browser.evaluate("document.body.textContent")
