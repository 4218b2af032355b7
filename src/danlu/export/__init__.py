"""Models for other runtimes. Each format says which layers it holds as codes and which not, and how far its answers are
from ours; what it cannot express is refused."""

from danlu.export.outcome import Outcome

__all__ = ["Outcome"]
