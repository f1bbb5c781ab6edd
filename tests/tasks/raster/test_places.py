"""Names of scenes become rasters, and never GDAL's own language."""

import pytest

from infra.errors import UnusableInput
from tasks.raster.places import NO_NETWORK, find_scenes, gdal_name, gdal_options


@pytest.fixture
def folder(tmp_path):
    for name in ("b.tif", "a.TIFF", "c.jp2", "notes.txt", "a.tfw", "deep/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def names(found):
    return [name.rpartition("/")[2] for name in found]


def test_a_folder_is_its_rasters_in_order_of_name(folder):
    assert names(find_scenes((str(folder),))) == ["a.TIFF", "b.tif", "c.jp2"]


def test_a_pattern_is_what_matches(folder):
    assert names(find_scenes((f"{folder}/*.tif", f"{folder}/deep/*"))) == ["b.tif", "d.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(folder):
    (folder / "[x].tif").write_bytes(b"x")
    assert names(find_scenes((f"{folder}/[x].tif",))) == ["[x].tif"]


@pytest.mark.parametrize("name", ["deep/*.tif", "empty"])
def test_nothing_is_said(folder, name):
    (folder / "empty").mkdir()
    with pytest.raises(UnusableInput, match=name.rpartition("/")[2].replace("*", r"\*")):
        find_scenes((str(folder / name),))


def test_a_file_that_is_not_there_is_said(folder):
    with pytest.raises(UnusableInput, match=r"There is no file .*none\.tif; give the path of a raster\."):
        find_scenes((f"{folder}/b.tif", f"{folder}/none.tif"))


def test_twice_is_said(folder):
    with pytest.raises(UnusableInput, match="twice"):
        find_scenes((f"{folder}/b.tif", f"{folder}/*.tif"))


def test_addresses_become_gdal_s():
    assert gdal_name("s3://bucket/a b.tif") == "/vsis3/bucket/a b.tif"
    assert gdal_name("https://host:8443/a%20b/c d.tif?x=1&y=2") == "/vsicurl/https://host:8443/a%20b/c%20d.tif?x=1&y=2"
    assert gdal_name("/data/scene.tif") == "/data/scene.tif"


def test_a_file_never_leads_to_a_network():
    assert gdal_options("/data/scene.tif") == NO_NETWORK
    assert NO_NETWORK.items() <= gdal_options("/data/scene.tif", trusted=False).items()


@pytest.mark.parametrize(
    "name",
    [
        "/vsicurl/http://host/a.tif",
        "/vsizip//vsicurl/http://host/a.zip",
        "<VRTDataset/>",
        "ftp://host/a",
        "https:///a",
        "GTIFF_DIR:1:a://",
    ],
)
def test_gdal_s_own_language_is_refused(name):
    with pytest.raises(UnusableInput):
        gdal_name(name)


def test_an_endpoint_of_one_s_own_is_told_to_gdal(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    options = gdal_options("s3://bucket/a.tif")
    assert (options["AWS_S3_ENDPOINT"], options["AWS_HTTPS"]) == ("127.0.0.1:9000", "NO")
    assert "AWS_S3_ENDPOINT" not in gdal_options("https://host/a.tif")
