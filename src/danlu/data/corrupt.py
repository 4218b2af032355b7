"""The older name of `danlu.data.corruption`."""

from danlu.data.corruption import Chance as Chance
from danlu.data.corruption import CorruptionSettings as CorruptionSettings
from danlu.data.corruption import Words as Words
from danlu.data.corruption import corruption as corruption
from danlu.data.corruption import kind_of as kind_of
from danlu.data.corruption import pack as pack
from danlu.data.corruption.causal import shift as shift
from danlu.data.corruption.mask import mask_tokens as mask_tokens
