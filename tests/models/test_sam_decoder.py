"""Recovering SAM's decoder from a graph; the real graph is tested where it is fetched (test_fetch_model)."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from infra.errors import UnusableInput
from models.sam import prompt_parts
from models.sam_decoder import _FOLDED, _TOKENS, convert_decoder, recover_decoder


def disguised(path, leave_out=()):
    """A graph of untrained weights under the three disguises of the real export, and the weights."""
    torch.manual_seed(0)
    prompt, mask = prompt_parts()
    parts = (("prompt_encoder", prompt), ("mask_decoder", mask))
    want = {f"{part}.{k}": v.contiguous() for part, m in parts for k, v in m.state_dict().items()}
    generated = {name: key for key, name in _FOLDED.items()}
    stored, nodes = {}, []
    for name, value in want.items():
        array = value.numpy()
        if name in generated:
            stored[generated[name]] = array.reshape(-1, 1, 1)
        elif name.endswith(("iou_token.weight", "mask_tokens.weight")):
            continue
        elif name.startswith("mask_decoder.transformer") and name.endswith("proj.weight"):
            stored[f"onnx::MatMul_{len(stored)}"] = array.T
            place = "/".join(name.split(".")[1:-1])
            nodes.append(helper.make_node("MatMul", ["x", list(stored)[-1]], [name], name=f"/{place}/MatMul"))
        else:
            stored[f"model.{name}"] = array
    tokens = [want["mask_decoder.iou_token.weight"], want["mask_decoder.mask_tokens.weight"]]
    stored[_TOKENS] = torch.cat(tokens)[None].numpy()
    kept = [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in stored.items() if k not in leave_out]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    onnx.save(helper.make_model(helper.make_graph(nodes, "sam", [x], [], kept)), path)
    return want


def test_every_tensor_comes_back_and_may_be_written_to(tmp_path):
    want = disguised(tmp_path / "sam.onnx")
    got = recover_decoder(tmp_path / "sam.onnx")
    assert got.keys() == want.keys()
    # a linear layer whose path ends in "0" folders is found by MatMul, square ones must not come back transposed
    assert all(torch.equal(got[name], want[name]) for name in want)
    got["mask_decoder.iou_token.weight"].zero_()


def test_the_same_graph_gives_the_same_bytes(tmp_path):
    disguised(tmp_path / "sam.onnx")
    for name in ("a", "b"):
        convert_decoder(tmp_path / "sam.onnx", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_graph_without_a_tensor_is_refused(tmp_path):
    disguised(tmp_path / "sam.onnx", leave_out=[_TOKENS])
    with pytest.raises(UnusableInput, match=r"2 tensors are missing .* mask_decoder.iou_token.weight"):
        recover_decoder(tmp_path / "sam.onnx")


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / "sam.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(UnusableInput, match="no ONNX graph"):
        recover_decoder(tmp_path / "sam.onnx")
