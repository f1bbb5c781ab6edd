"""How many processes train together."""

import pytest

from infra.device import processes_for
from infra.errors import UnusableInput


def test_as_many_gpus_as_share_a_batch_evenly(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert [processes_for("cuda", None, batch=batch) for batch in (1, 7, 8, 9, 12)] == [1, 1, 2, 3, 3]
    assert processes_for("cuda", 2, batch=8) == 2
    with pytest.raises(UnusableInput, match="--processes was 4 and there are 3 GPUs"):
        processes_for("cuda", 4, batch=8)
    assert (processes_for("cpu", None, batch=8), processes_for("cpu", 5, batch=10)) == (1, 5)
