"""`geoloom models` from outside."""

import onnx


def test_a_model_is_exported_and_the_report_says_how_near_torch_it_is(geoloom, tiny_model, tmp_path):
    out = tmp_path / "tiny.onnx"
    report, said = geoloom("models", "export", tiny_model, "--out", out)
    assert report["command"] == "models export"
    assert report["status"] == "done"
    assert report["outputs"]["onnx"] == str(out)
    assert 0 <= report["outputs"]["difference"] <= 1e-3
    assert report["outputs"]["equal"] >= 0.9999
    assert report["opset"] == 17
    onnx.checker.check_model(onnx.load(out), full_check=True)
    assert said.splitlines() == [f"Exporting {tiny_model.name} and running it beside torch."]


def test_what_cannot_be_exported_is_one_sentence(geoloom, tiny_model, tmp_path):
    for words, says in (((tiny_model, "--out", tmp_path), "ends in .onnx"), (("no", "--out", "no.onnx"), "no model")):
        report, said = geoloom("models", "export", *words, code=2)
        assert report["status"] == "failed"
        assert says in said
        assert len(said.splitlines()) == 1
