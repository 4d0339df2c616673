import re
import xml.etree.ElementTree as ET

import pytest

from cadrender.report.charts import colour, drawing, frequency_axis, to_svg

SVG = "{http://www.w3.org/2000/svg}"


def draw(gid="head:7", label="Level (dB)", alt="A line"):
    with drawing(300, 200, (40, 10, 30, 10)) as (figure, axes):
        line = axes.plot([100, 1000, 10000], [0.123456789, 3, 1], "o-", color=colour("warm"))[0]
        line.set_gid(gid)
        axes.set_ylabel(label)
        frequency_axis(axes, 100, 10000, (100, 1000, 10000))
        return to_svg(figure, alt)


def parsed(svg):
    """As XML, where inline SVG need not name its namespaces."""
    named = str(svg).replace(
        "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    )
    return ET.fromstring(named)


def test_a_figure_is_one_element_that_scales_and_says_what_it_shows():
    svg = parsed(draw(alt="Level & <frequency>"))
    assert svg.get("viewBox") == "0 0 300 200"
    assert svg.get("width") is None and svg.get("height") is None
    assert (svg.get("role"), svg.get("aria-label")) == ("img", "Level & <frequency>")


def test_colours_are_the_pages_own():
    svg = draw()
    assert "var(--warm)" in svg and "var(--muted)" in svg
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert "font-family" not in svg and "<style" not in svg


def test_text_is_text_and_is_never_markup():
    svg = draw(label="<b>$x^2$ & #0d0b00</b>")
    texts = ["".join(text.itertext()) for text in parsed(svg).iter(f"{SVG}text")]
    assert {"100", "1k", "10k", "Frequency (Hz)"} < set(texts)
    assert any(text.startswith("<b>$x^2$ &") for text in texts)


def test_marked_lines_carry_their_number():
    (line,) = [group for group in parsed(draw()).iter(f"{SVG}g") if group.get("data-head")]
    assert line.get("data-head") == "7" and line.get("id") is None


def test_figures_on_one_page_share_no_id_and_lack_none():
    both = parsed(draw()), parsed(draw())
    ids = [{one.get("id") for one in svg.iter() if one.get("id")} for svg in both]
    assert ids[0] and not ids[0] & ids[1]
    for svg, known in zip(both, ids, strict=True):
        used = {one.get("{http://www.w3.org/1999/xlink}href", "#")[1:] for one in svg.iter(f"{SVG}use")}
        used |= set(re.findall(r"url\(#([^)]*)\)", ET.tostring(svg, encoding="unicode")))
        assert used == known


def test_the_users_own_style_does_not_matter(monkeypatch):
    import matplotlib

    def anonymous(svg):
        return re.sub(r"f\d+[mp][0-9a-f]{10}", "id", svg)

    plain = anonymous(draw())
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "black")
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "path")
    assert anonymous(draw()) == plain


@pytest.mark.filterwarnings("error")
def test_letters_that_no_font_has_are_drawn_without_a_word():
    assert "𝄞日本" in draw(label="𝄞日本")
