"""The code blocks of README and the documentation pages."""

from dataclasses import dataclass

from markdown_it import MarkdownIt

from tests.roots import REPOSITORY


@dataclass(frozen=True)
class Block:
    """A code block: its language, ``""`` if merely indented, and what is shown right after it."""

    heading: str
    language: str
    text: str
    shown_output: str | None = None


def blocks(page):
    """The code blocks of a page, in order; page names are relative to the repository."""
    found: list[Block] = []
    heading, after_code = "", False
    tokens = MarkdownIt().parse((REPOSITORY / page).read_text(encoding="utf-8"))
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "inline" and before and before.type == "heading_open":
            heading = token.content
        if token.type in ("fence", "code_block"):
            language = token.info.strip()
            if language == "text" and after_code:
                last = found.pop()
                found.append(Block(heading, last.language, last.text, token.content))
            else:
                found.append(Block(heading, language, token.content))
            after_code = language in ("python", "bash")
        else:
            after_code = False
    return found


def python_under(page, heading):
    """The only Python block under a heading."""
    (found,) = [b.text for b in blocks(page) if (b.heading, b.language) == (heading, "python")]
    return found


def commands_under(page, heading):
    """The lines of the shell blocks under a heading, without comments."""
    lines = "".join(b.text for b in blocks(page) if (b.heading, b.language) == (heading, "bash")).splitlines()
    return [line.split(" #")[0].rstrip() for line in lines if line and not line.startswith("#")]
