"""What is taken off the classes' log-probabilities because it is true of every input.

Each function: raw log-probabilities of classes (N, C) -> the same, moved.
"""

from collections.abc import Sequence

from torch import Tensor

from danlu.prompt.spec import Calibration
from danlu.tasks.task import Row

EMPTY: dict[Calibration, tuple[str, ...]] = {"contextual": ("N/A", "[MASK]", ""), "pmi": ("",)}


def content_free(calibration: Calibration, fields: Sequence[str]) -> list[Row]:
    """The inputs without content that a calibration asks for."""
    return [Row(dict.fromkeys(fields, text)) for text in EMPTY.get(calibration, ())]


def calibrated(calibration: Calibration, raw: Tensor, free: Tensor | None) -> Tensor:
    """raw (N, C) log-probabilities, free (F, C) those of inputs without content -> log-probabilities over the classes
    (N, C), each row normalised.

    contextual: W = diag(mean p_cf)^-1, b = 0 (Zhao et al. 2021, 4). pmi: log p(y | x) - log p(y | empty x) (Holtzman
    et al. 2021, eq. 2), which ranks as contextual with that one input would. batch: less the log of the mean prediction
    of these rows (Zhou et al. 2023, eq. 5), so that a row's answer depends on its company.
    """
    normal = raw.log_softmax(-1)
    if calibration == "pmi" and free is not None:
        return (raw - free.mean(0)).log_softmax(-1)
    if calibration == "contextual" and free is not None:
        return (normal - free.softmax(-1).mean(0).log()).log_softmax(-1)
    if calibration == "batch":
        return (normal - normal.exp().mean(0).log()).log_softmax(-1)
    return normal
