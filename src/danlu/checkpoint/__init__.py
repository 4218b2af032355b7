"""The model folder: settings, weights, tokenizer, lineage, golden samples."""

from danlu.checkpoint.convert import convert as convert
from danlu.checkpoint.folder import Checkpoint as Checkpoint
from danlu.checkpoint.folder import damaged_files as damaged_files
from danlu.checkpoint.golden import Replay as Replay
from danlu.checkpoint.places import INSTALLABLE as INSTALLABLE
from danlu.checkpoint.places import find_model as find_model
from danlu.checkpoint.places import installed as installed
