"""Folders are layers, and importing one does not pay for another."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("flows", "tasks", "models", "infra")
FILES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
LONGEST = 300


def names(paths):
    return [str(p.relative_to(ROOT)) for p in paths]


def run(code, **environment):
    """Run a piece of Python in a fresh process at the root."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def loaded_by(module, *heavy):
    code = f"import sys, importlib; importlib.import_module({module!r}); print(*sorted(sys.modules))"
    return {m.split(".")[0] for m in run(code)} & set(heavy)


def test_the_layers_hold():
    """import-linter's contracts stand in pyproject.toml."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_the_command_line_starts_without_the_heavy_libraries():
    assert loaded_by("flows.cli", "torch", "prefect", "rasterio", "numpy", "zarr", "dask", "geopandas") == set()


def test_a_flow_starts_without_torch_and_gdal():
    assert loaded_by("flows.map_scenes", "torch", "rasterio", "segment_anything", "matplotlib") == set()


@pytest.mark.parametrize("module", ["infra.lease", "infra.ledger", "infra.store", "infra.cluster", "infra.lanes"])
def test_to_hold_a_workspace_takes_no_heavy_library(module):
    """Who comes second leaves at once."""
    heavy = ("torch", "prefect", "rasterio", "numpy", "zarr", "dask", "distributed", "obstore", "odc")
    assert loaded_by(module, *heavy) == set()


def test_steps_without_a_network_start_without_torch():
    assert loaded_by("tasks.mosaic", "torch", "prefect") == loaded_by("tasks.ingest", "torch", "prefect") == set()


def test_to_label_by_a_truth_takes_no_classifier():
    assert loaded_by("tasks.ways", "torch", "sklearn", "prefect") == set()


def test_to_look_at_a_workspace_takes_no_network():
    assert loaded_by("tasks.status", "torch", "prefect", "rasterio", "numba") == set()


@pytest.mark.parametrize("package", [*PACKAGES, "infra.errors"])
def test_importing_a_package_imports_nothing(package):
    heavy = ("torch", "prefect", "rasterio", "numpy", "dask", "pydantic")
    assert loaded_by(package, *heavy) == set()


def imported(path):
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_gdal_has_one_door():
    """Whoever imports rasterio elsewhere first loads GDAL with its VRT driver on."""
    doors = [p for p in FILES if any(m.split(".")[0] in {"rasterio", "osgeo"} for m in imported(p))]
    assert names(doors) == ["tasks/raster/gdal.py"]


def test_vector_files_have_one_door():
    """pyogrio brings a GDAL of its own, and geopandas imports pyogrio."""
    doors = [p for p in FILES if any(m.split(".")[0] in {"pyogrio", "geopandas", "fiona"} for m in imported(p))]
    assert names(doors) == ["tasks/raster/ogr.py"]


def test_every_file_that_was_looked_at_is_there():
    assert len(FILES) > 50


def test_package_files_are_a_docstring_and_no_more():
    inits = [p for p in FILES if p.name == "__init__.py"]
    assert inits
    full = [p for p in inits if [type(n) for n in ast.parse(p.read_text(encoding="utf-8")).body] != [ast.Expr]]
    assert names(full) == []


def test_every_file_says_what_it_is():
    assert names(p for p in FILES if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))) == []


def test_no_file_is_too_long():
    assert names(p for p in FILES if len(p.read_text(encoding="utf-8").splitlines()) > LONGEST) == []


def test_no_file_has_a_name_that_says_nothing():
    assert names(p for p in FILES if p.stem in {"utils", "helpers", "manager", "common", "misc"}) == []


VRT = """<VRTDataset rasterXSize="8" rasterYSize="4">
<VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">
<SourceFilename relativetoVRT="0">{secret}</SourceFilename>
<ImageOffset>0</ImageOffset><PixelOffset>1</PixelOffset><LineOffset>8</LineOffset>
</VRTRasterBand></VRTDataset>"""

DESCRIBE = """
import sys
{first}
from infra.errors import UnusableInput
from tasks.raster.scene import describe_scene, read_scene
try:
    scene = describe_scene({path!r})
except UnusableInput:
    print("refused")
else:
    print(read_scene(scene, (slice(0, 4), slice(0, 8)), bands=scene.bands)[0].tobytes())
"""


@pytest.fixture
def disguised(tmp_path):
    """A text file named .tif that reads any file."""
    secret, path = tmp_path / "secret.bin", tmp_path / "scene.tif"
    secret.write_bytes(b"TOPSECRET-" * 4)
    path.write_text(VRT.format(secret=secret))
    return str(path)


def test_a_raster_that_reads_other_files_is_refused(disguised):
    assert run(DESCRIBE.format(first="", path=disguised)) == ["refused"]


def test_that_test_can_fail(disguised):
    """Opened without the door, the very same file gives the secret away."""
    first = "import os; os.environ['GDAL_SKIP'] = ''; os.environ['GDAL_VRT_RAWRASTERBAND_ALLOWED_SOURCE'] = 'ALL'"
    code = f"{first}\nimport rasterio\nprint(rasterio.open({disguised!r}).read().tobytes())"
    assert "TOPSECRET" in " ".join(run(code))


@pytest.mark.parametrize("environment", [{}, {"GDAL_SKIP": "BMP"}], ids=["ours", "and the user's"])
def test_the_drivers_are_off_in_every_process_that_passes_the_door(environment):
    code = "from tasks.raster.gdal import rasterio\nwith rasterio.Env() as env: print(*sorted(env.drivers()))"
    drivers = set(run(code, **environment))
    assert {"GTiff", "COG"} <= drivers
    assert "BMP" not in drivers or not environment
    assert not {"WMS", "WCS", "WMTS", "HTTP", "GTI", "STACIT", "STACTA"} & drivers  # VRT is there, and opens nothing
