"""HTML that is escaped unless it says that it is HTML: names in metadata are anybody's text."""

import html


class Html(str):
    """Text that is HTML already; every other text is escaped when it becomes part of an element."""


def el(tag: str, /, *children, **attributes) -> Html:
    """An element.

    Parameters
    ----------
    tag : str
        Of the element.
    *children
        Html is taken as it is, None and False are left out, lists are gone through, all else becomes escaped
        text.
    **attributes
        ``cls`` stands for ``class`` and ``_`` for ``-``; None and False leave an attribute out, True leaves
        its value out.

    Examples
    --------
    >>> el("p", "cats & ", el("b", "dogs"), cls="pets")
    '<p class="pets">cats &amp; <b>dogs</b></p>'
    """
    opening = tag
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = "class" if key == "cls" else key.strip("_").replace("_", "-")
        opening += f" {key}" if value is True else f' {key}="{html.escape(str(value))}"'
    if tag in ("br", "hr", "img", "input", "meta"):
        return Html(f"<{opening}>")
    return Html(f"<{opening}>{join(*children)}</{tag}>")


def join(*children) -> Html:
    """Children one after the other, as `el` takes them."""
    parts = []
    for child in children:
        if isinstance(child, Html):
            parts.append(child)
        elif isinstance(child, list | tuple):
            parts.append(join(*child))
        elif child is not None and child is not False:
            parts.append(html.escape(str(child)))
    return Html("".join(parts))


def name(text: str) -> Html:
    """A name from the metadata: its direction of writing does not reach beyond it."""
    return el("bdi", text)


def code(text: str) -> Html:
    """A command or a path."""
    return el("code", text)
