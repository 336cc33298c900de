"""How Sphinx builds the documentation: Markdown in, a site that needs nothing from the network out."""

from importlib.metadata import version as version_of

project = "spanloom"
copyright = "The spanloom authors"
version = release = version_of("spanloom")

extensions = ["myst_parser"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"spanloom {release}"
html_copy_source = False
