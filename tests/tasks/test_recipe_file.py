"""Options out of a file, and those of the command line over them."""

import pytest

from flows import cli
from infra.errors import UnusableInput
from tasks.params import TrainParams
from tasks.recipe_file import filled


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        (tmp_path / "recipe.toml").write_text(text)
        return str(tmp_path / "recipe.toml")

    return write


TEXT = """
steps = 30_000
learning-rate = 2e-3
[loss]
dice = 0
lovasz = 0.5
[augment]
zoom = [0.5, 2.0]
"""


def test_what_is_given_beside_the_file_wins(recipe):
    file = recipe(TEXT)
    found = filled(TrainParams.model_validate({"recipe": file, "steps": 7, "loss": {"dice": 1.0}}))
    assert (found.steps, found.learning_rate, found.batch) == (7, 2e-3, 8)
    assert (found.loss.dice, found.loss.lovasz, found.loss.cross_entropy) == (1.0, 0.5, 1.0)
    assert found.augment.zoom == (0.5, 2.0)
    assert filled(TrainParams(steps=3)) == TrainParams(steps=3)


def test_the_command_line_gives_what_was_typed_and_no_more(recipe, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("flows.steps.train", lambda params, *_, **__: seen.append(params) or 1 / 0)
    typed = ["train", str(tmp_path), "--out", "m", "--recipe", recipe(TEXT), "--loss.dice", "2", "--batch", "4"]
    with pytest.raises(SystemExit):
        cli.app(typed, result_action="return_value", exit_on_error=False)
    found = filled(seen[0])
    assert (found.steps, found.batch, found.loss.dice, found.loss.lovasz) == (30_000, 4, 2.0, 0.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps = ", "is not TOML"),
        ("step = 3", "step: Extra inputs are not permitted"),
        ("steps = 0", "steps: Input should be greater than or equal to 1, given 0"),
        ("[loss]\ndize = 1", "loss.dize: Extra"),
        ("recipe = 'b.toml'", "names another recipe"),
    ],
)
def test_what_cannot_be_used_is_told(recipe, text, words):
    with pytest.raises(UnusableInput, match=words):
        filled(TrainParams(recipe=recipe(text)))


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UnusableInput, match=r"none\.toml cannot be read"):
        filled(TrainParams(recipe=str(tmp_path / "none.toml")))
