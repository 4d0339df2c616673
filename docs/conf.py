"""Sphinx: how the pages of this folder become a site. See site.md."""

from docutils import nodes
from docutils.utils.math import latex2mathml

import cadrender

project = "cadrender"
release = version = cadrender.__version__
html_title = f"cadrender {version}"

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx_click"]
smartquotes = False  # they would turn `--option` in help texts into a dash
exclude_patterns = ["figures"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

autodoc_typehints = "none"  # numpydoc has them
autosummary_generate = True
numpydoc_show_class_members = False


def _equation(self, node, as_block):
    self.body.append(latex2mathml.tex2mathml(node.astext(), as_block=as_block))
    raise nodes.SkipNode


def setup(app):
    """Let browsers draw equations themselves (MathML): nothing is loaded from elsewhere."""
    app.add_html_math_renderer(
        "mathml",
        (lambda self, node: _equation(self, node, False), None),
        (lambda self, node: _equation(self, node, True), None),
    )


html_math_renderer = "mathml"
