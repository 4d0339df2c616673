from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from cadrender.report.markup import Html, el, join, name


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append(dict(attrs))

    def handle_data(self, data):
        self.text += data


@given(st.text(), st.text())
def test_no_text_becomes_markup(text, value):
    reader = Reader(el("p", text, title=value))
    assert reader.tags == ["p"]
    # HTML has one kind of line end, and no NUL.
    assert reader.text == text
    assert reader.attributes[0]["title"] == value


def test_html_is_taken_as_it_is_and_nested_lists_are_gone_through():
    assert el("p", "a<b", [Html("<i>c</i>"), ["d", None, False]], 3) == "<p>a&lt;b<i>c</i>d3</p>"
    assert join("<", Html("<")) == "&lt;<"
    assert isinstance(join("a"), Html) and isinstance(el("p"), Html)


def test_attributes():
    assert el("a", href="x&y", cls="c", aria_label='"', hidden=True, title=None, open=False) == (
        '<a href="x&amp;y" class="c" aria-label="&quot;" hidden></a>'
    )
    assert el("meta", http_equiv="x", name="y") == '<meta http-equiv="x" name="y">'


def test_a_name_keeps_its_direction_of_writing_to_itself():
    assert name("\u202eabc<") == "<bdi>\u202eabc&lt;</bdi>"
