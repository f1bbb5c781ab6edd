"""Vector files: what hides another file behind it is refused, and nobody is warned of it."""

import subprocess
import sys

import pytest

VRT = (
    '<OGRVRTDataSource><OGRVRTLayer name="buildings"><SrcDataSource>{}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>'
)
READ = """
import sys, logging
logging.basicConfig(level=logging.WARNING)
{door}
import pyogrio
try:
    print(len(pyogrio.list_layers(sys.argv[1])), "layers")
except pyogrio.errors.DataSourceError:
    print("refused")
from tasks.raster.gdal import rasterio
with rasterio.Env():
    pass
"""


@pytest.mark.parametrize(("door", "answer"), [("import tasks.raster.ogr", "refused"), ("", "1 layers")])
def test_a_disguised_vrt_is_refused_behind_the_door_only(world, tmp_path, door, answer):
    """Without the door pyogrio does follow it: the test can fail."""
    path = tmp_path / "footprints.gpkg"
    path.write_text(VRT.format(world.vectors))
    words = [sys.executable, "-c", READ.format(door=door), str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == answer
    assert "OGR_VRT" not in done.stderr
