"""What differs from machine to machine comes from the environment, through one place."""

import ast
from pathlib import Path

import pydantic
import pytest

from infra.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    import os

    for name in [n for n in os.environ if n.upper().startswith("GEOLOOM_")]:
        monkeypatch.delenv(name)


def test_defaults_and_the_environment(monkeypatch, tmp_path):
    found = Settings()
    assert found.device == "auto"
    assert found.cache_dir.is_absolute()
    monkeypatch.setenv("GEOLOOM_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("geoloom_device", "cpu")
    monkeypatch.setenv("GEOLOOM_SOMETHING_NEW", "1")
    found = Settings()
    assert found.cache_dir == tmp_path
    assert found.device == "cpu"


def test_a_wrong_value_names_the_variable(monkeypatch):
    monkeypatch.setenv("GEOLOOM_DEVICE", "quantum")
    with pytest.raises(pydantic.ValidationError, match="device"):
        Settings()


def test_settings_are_a_value():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        Settings().device = "cpu"


def test_every_setting_explains_itself():
    assert all(field.description for field in Settings.model_fields.values())


def test_nobody_else_reads_the_environment():
    """Writing it is another matter: GDAL and Prefect are told their settings there. So are AWS's own variables."""
    readers = []
    for package in ("flows", "tasks", "models", "infra"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                text = ast.unparse(node) if isinstance(node, ast.Call | ast.Subscript) else ""
                written = isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del)
                reading = text.startswith(("os.getenv(", "os.environ.get(", "os.environ[")) and not written
                if reading and "AWS_" not in text and "GDAL_SKIP" not in text:
                    readers.append(f"{path.relative_to(ROOT)}: {text}")
    assert readers == []
