"""What tests share: sample data where it is, a small world, a small model."""

import os
import signal
import threading
import uuid
from collections import Counter
from pathlib import Path

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; what tests start must not inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis
import pytest

# How long an example takes says something about the machine, not about what is tested.
hypothesis.settings.register_profile("geoloom", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("geoloom")

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"


def pytest_collection_modifyitems(items):
    """Files with the most slow tests first: several processes take whole files in this order, and end together."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def data():
    """The folder of real scenes; skips where it is missing."""
    if not DATA.is_dir():
        pytest.skip(f"the sample data is not at {DATA}")
    return DATA


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A world of 768 x 768 pixels: paths of its scene, class raster and vectors."""
    from infra.progress import Silent
    from tasks.make_world import make_world
    from tasks.params import WorldParams

    return make_world(WorldParams(size=768, seed=3), tmp_path_factory.mktemp("world") / "scene.tif", progress=Silent())


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A model of three bands and the default classes with random weights and a small receptive field."""
    import torch

    from models.card import ModelCard
    from models.checkpoint import save_model
    from models.registry import build
    from tasks.raster.classes import DEFAULT_CLASSES

    torch.manual_seed(0)
    card = ModelCard(
        architecture="tiny", bands=("red", "green", "blue"), mean=(127.5,) * 3, std=(64.0,) * 3,
        classes=DEFAULT_CLASSES.names, colours=tuple(c.colour for c in DEFAULT_CLASSES.classes),
        stride=1, tile=256, margin=8, ramp=8,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, build("tiny", {}, bands=3, classes=len(DEFAULT_CLASSES)), card)
    return folder


@pytest.fixture(scope="session")
def s3():
    """A client of an S3 server on this machine; the usual AWS variables point to it."""
    import boto3
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    # Of two that create one object at once, S3 lets one; its stand-in looks and then writes, and may let both.
    one_by_one, put = threading.Lock(), S3Response.put_object

    def put_alone(response):
        with one_by_one:
            return put(response)

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3Response, "put_object", put_alone)
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ALLOW_HTTP", "true")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "tester")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "sesame-of-the-tests")
        client = boto3.client("s3", region_name="us-east-1")
        yield client
        client.close()
    server.stop()


@pytest.fixture
def bucket(s3):
    """The name of a new bucket."""
    name = f"maps-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name
