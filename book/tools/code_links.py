"""A Sphinx extension: names of the library in a chapter's code lead to its reference page (sphinx-codeautolink)."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx_codeautolink.extension.block import CodeBlockAnalyser


def depart_section(self: CodeBlockAnalyser, section: nodes.section) -> None:
    """Forgets the section's title, if it has one.

    sphinx-codeautolink 0.19.0 takes it for granted, and fails on the solutions of exercises, which are sections without.
    """
    if self.title_stack:
        self.title_stack.pop()


def configure(app: Sphinx, config: Config) -> None:
    """Cells count as Python, and what one imports is known to the next."""
    config.codeautolink_custom_blocks = {"ipython3": None}
    config.codeautolink_concat_default = True


def setup(app: Sphinx) -> dict[str, bool]:
    CodeBlockAnalyser.depart_section = depart_section
    app.setup_extension("sphinx_codeautolink")
    app.connect("config-inited", configure, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
