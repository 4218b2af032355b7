from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from stirring import made


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """The folder of a small model."""

    def save(name: str, **changes: object) -> Path:
        return made(name, **changes).save(tmp_path / f"base-{name}")

    return save
