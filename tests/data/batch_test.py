import torch

from danlu.data.batch import IGNORED, Batch


def test_split_keeps_rows_and_counts() -> None:
    tokens = torch.arange(35).reshape(7, 5)
    targets = tokens.masked_fill(tokens % 3 > 0, IGNORED)
    batch = Batch({"tokens": tokens, "documents": tokens // 3}, {"tokens": targets})
    parts = batch.split(3)
    assert [part.rows for part in parts] == [3, 3, 1]
    assert torch.equal(torch.cat([part.inputs["documents"] for part in parts]), tokens // 3)
    assert sum(part.count("tokens") for part in parts) == batch.count("tokens") == 12
    assert batch.to("cpu").rows == 7
