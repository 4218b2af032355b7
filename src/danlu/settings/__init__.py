"""Typed settings and plain data: YAML files, `a.b=c` words, defaults, JSON Schema.

Every group of settings is a frozen `Settings` class. Unknown names are refused with the nearest known one, and all
problems of a file and a command line are listed together, before anything loads.
"""

from danlu.settings.plain import Data, merge, parse_yaml, read_yaml
from danlu.settings.typed import Settings, build, names, schema, to_yaml
from danlu.settings.words import ALIASES, canonical, parse_words, renamed

__all__ = [
    "ALIASES", "Data", "Settings", "build", "canonical", "merge", "names", "parse_words", "parse_yaml", "read_yaml",
    "renamed", "schema", "to_yaml",
]  # fmt: skip
