"""Models of the hub, from a small hub on this machine: pinned to what was fetched first, and checked from then on."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra.errors import UnusableInput
from infra.hub import HUB, get_hub, read_sums, require_licence
from infra.progress import Silent
from infra.settings import Settings
from infra.weights import find_hub, known_weights
from tasks import fetch_model as step
from tasks.fetch_model import fetch_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "sam3_video"}', "model.safetensors": b"weights" * 1000, "merges.txt": b"a b\n",
    "sam3.pt": b"the same again, pickled", "README.md": b"words",
}  # fmt: skip


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """A hub with one repository."""

    token: str | None
    """What it asks for."""
    asked: list[str]
    """What it was asked."""
    named: dict[str, str]
    """The sha256 that it names."""
    url: str

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.asked.append(self.path)
        if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
            self.answer(401, b"{}", {"X-Error-Code": "GatedRepo"})
        elif self.path.startswith("/api/models/"):
            siblings = [{"rfilename": name, "size": len(content)} for name, content in FILES.items()]
            for file in siblings:
                if file["rfilename"] in self.named:
                    file["lfs"] = {"sha256": self.named[file["rfilename"]], "size": file["size"], "pointerSize": 1}
            document = {"id": "facebook/sam3", "sha": COMMIT, "siblings": siblings}
            self.answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})
        else:
            content = FILES[self.path.partition(f"/resolve/{COMMIT}/")[2]]
            self.answer(200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{sha256(content)}"'})

    def answer(self, status, content, headers):
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def hub():
    Hub.token, Hub.asked, Hub.named = None, [], {"model.safetensors": sha256(FILES["model.safetensors"])}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Hub.url = f"http://127.0.0.1:{server.server_port}"
    yield Hub
    server.shutdown()
    server.server_close()
    thread.join()


def use(monkeypatch, tmp_path, hub, **more):
    here = Settings(cache_dir=tmp_path / "cache", weights_dir=None, HF_ENDPOINT=hub.url, **more)
    monkeypatch.setattr(step, "settings", lambda: here)
    return here


def test_what_is_fetched_is_pinned_checked_and_fetched_once(hub, tmp_path, monkeypatch):
    use(monkeypatch, tmp_path, hub)
    found = fetch_model("sam3", progress=Silent(), accept_license=True)
    folder = tmp_path / "cache" / "weights" / "sam3"
    assert found == {"folder": str(folder), "weights": str(folder / "model.safetensors")}
    wanted = ("config.json", "merges.txt", "model.safetensors")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {name: FILES[name] for name in wanted} | {
        "REVISION": f"{COMMIT}\n".encode(),
        "SHA256SUMS": "".join(f"{sha256(FILES[name])}  {name}\n" for name in wanted).encode(),
    }
    before = len(hub.asked)
    assert fetch_model("sam3", progress=Silent(), accept_license=True) == found
    assert len(hub.asked) == before
    (folder / "model.safetensors").write_bytes(b"flipped")
    assert find_hub("sam3", cache=tmp_path / "cache", local=None) is None, "a damaged cache is fetched again"
    fetch_model("sam3", progress=Silent(), accept_license=True)
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_a_file_that_is_not_what_the_hub_says_leaves_nothing(hub, tmp_path, monkeypatch):
    monkeypatch.setitem(hub.named, "model.safetensors", "0" * 64)
    here = use(monkeypatch, tmp_path, hub)
    with pytest.raises(UnusableInput, match=r"model\.safetensors did not arrive as it was sent"):
        fetch_model("sam3", progress=Silent(), accept_license=True)
    assert list((here.cache_dir / "weights").iterdir()) == []


def test_a_token_opens_what_is_gated(hub, tmp_path, monkeypatch):
    hub.token = "hf_mine"
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    use(monkeypatch, tmp_path, hub, HF_TOKEN="hf_other")
    with pytest.raises(UnusableInput, match=r"ask for access at .* and put your token into HF_TOKEN") as told:
        fetch_model("sam3", progress=Silent(), accept_license=True)
    assert "hf_other" not in str(told.value)
    use(monkeypatch, tmp_path, hub, HF_TOKEN="hf_mine")
    fetch_model("sam3", progress=Silent(), accept_license=True)


def test_a_hub_that_does_not_answer_is_told(tmp_path):
    with pytest.raises(UnusableInput, match=r"cannot be fetched from http://127\.0\.0\.1:9 .*check the network"):
        get_hub("sam2-tiny", tmp_path, url="http://127.0.0.1:9", token=None)


def test_the_licence_of_sam_3_has_to_be_accepted(tmp_path, hub, monkeypatch):
    use(monkeypatch, tmp_path, hub)
    with pytest.raises(UnusableInput, match=r"SAM License.*military.*ITAR.*give --accept-license"):
        fetch_model("sam3", progress=Silent())
    assert not hub.asked
    require_licence("sam3", accepted=True)
    for name in ("sam2-tiny", "sam-vit-t"):
        require_licence(name, accepted=False)


def test_a_folder_of_the_user_s_own_goes_first(tmp_path):
    own = tmp_path / "local" / "sam2-tiny"
    own.mkdir(parents=True)
    (own / "config.json").write_bytes(b"{}")
    assert find_hub("sam2-tiny", cache=tmp_path, local=tmp_path / "local") == own.resolve()
    (own / "SHA256SUMS").write_text(f"{'0' * 64}  config.json\n")
    with pytest.raises(UnusableInput, match=r"config\.json is damaged or another file"):
        find_hub("sam2-tiny", cache=tmp_path, local=tmp_path / "local")


@pytest.mark.parametrize("text", ["nonsense\n", f"{'0' * 64}  ../../etc/passwd\n"])
def test_a_list_of_sums_that_is_none_is_refused(tmp_path, text):
    assert read_sums(tmp_path) is None
    (tmp_path / "SHA256SUMS").write_text(text)
    with pytest.raises(UnusableInput, match="expected a sha256 and a file beside it"):
        read_sums(tmp_path)


def test_an_unknown_name_hears_of_the_hub_s_models_too():
    with pytest.raises(UnusableInput, match=r"sam-vit-t, .*, sam2-tiny, .*sam3"):
        known_weights("sam4")
    assert HUB["sam2-large"].repository == "facebook/sam2.1-hiera-large"
