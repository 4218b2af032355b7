"""What trains of a model, and what is added to it: every change has `apply(model, seed)`."""

from danlu.adapt.change import Adapt as Adapt
from danlu.adapt.change import Change as Change
from danlu.adapt.change import load_tensors as load_tensors
from danlu.adapt.change import names as names
from danlu.adapt.change import own_tensors as own_tensors
from danlu.adapt.change import read_change as read_change
from danlu.adapt.change import room as room
from danlu.adapt.change import switch as switch
from danlu.adapt.change import virtual_tokens as virtual_tokens
from danlu.adapt.changes import KINDS as KINDS
from danlu.adapt.changes import NAME as NAME
from danlu.adapt.changes import Addition as Addition
from danlu.adapt.changes import Lora as Lora
from danlu.adapt.changes import Part as Part
from danlu.adapt.changes import quantize as quantize
from danlu.adapt.merge import Merged as Merged
from danlu.adapt.merge import detach as detach
from danlu.adapt.merge import merge as merge
from danlu.adapt.summary import Trained as Trained
from danlu.adapt.summary import trained as trained
