"""A linear layer as the product of two thin ones: rank x (in + out) numbers in the place of in x out."""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from danlu.settings import Settings


class FactorizedConfig(Settings):
    kind: Literal["factorized"] = "factorized"
    rank: int = Field(gt=0)


class FactorizedLinear(nn.Module):
    """y = up(down(x)): (..., I) -> (..., R) -> (..., O). The halves are linear layers like any other."""

    def __init__(self, inputs: int, outputs: int, bias: bool, config: FactorizedConfig):
        super().__init__()
        self.config = config
        self.in_features, self.out_features = inputs, outputs
        self.down = nn.Linear(inputs, config.rank, bias=False)
        self.up = nn.Linear(config.rank, outputs, bias)

    @property
    def bias(self) -> nn.Parameter | None:
        bias: nn.Parameter | None = self.up.bias
        return bias

    @property
    def weight(self) -> Tensor:
        """The matrix that the halves stand for: (O, I)."""
        return self.up.weight @ self.down.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.up(self.down(x))
        return out

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, rank={self.config.rank}"
