"""What differs from machine to machine, read from the environment in this one place."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of one machine: `GEOLOOM_CACHE_DIR=/big/disk geoloom map ...`."""

    model_config = SettingsConfigDict(env_prefix="GEOLOOM_", frozen=True, extra="ignore")

    cache_dir: Path = Field(
        default=Path("~/.cache/geoloom").expanduser(), description="Where fetched weights are kept."
    )
    weights_dir: Path | None = Field(
        default=Path("../shared/weights"), description="A folder of weights to take from before any download."
    )
    data_dir: Path = Field(
        default=Path("../shared/data"), description="A folder of sample scenes; the demo uses worlds without it."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where networks run.")
    tile_log: Path | None = Field(
        default=None, description="A file that gets one line, a digest of its pixels, for each tile a network is given."
    )
    visible_gpus: str | None = Field(
        default=None,
        validation_alias="CUDA_VISIBLE_DEVICES",
        description="The GPUs that processes may use, as CUDA reads it: numbers or names with commas between them.",
    )
    hub_url: str = Field(
        default="https://huggingface.co", validation_alias="HF_ENDPOINT", description="The Hugging Face hub's address."
    )
    hub_token: SecretStr | None = Field(
        default=None, validation_alias="HF_TOKEN", description="Your token there, for models that ask who fetches them."
    )
    patience: float | None = Field(
        default=None,
        gt=0,
        description="Seconds to wait for a scheduler and its first worker, and for lost ones to return.",
    )
    overpass_url: str = Field(
        default="https://overpass-api.de/api/interpreter",
        pattern=r"^https?://",
        description="The Overpass server that is asked for OpenStreetMap's buildings and roads.",
    )
    overture_url: str = Field(
        default="https://stac.overturemaps.org/catalog.json",
        pattern=r"^https?://",
        description="The STAC catalog that leads to Overture's releases.",
    )
    gpu_pool: str = Field(default="gpu", description="The Prefect work pool that training and inference go to.")


@cache
def settings() -> Settings:
    """The settings of this process."""
    return Settings()
