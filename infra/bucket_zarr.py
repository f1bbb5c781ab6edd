"""Zarr's own store over a bucket, as patient with the network as ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from obstore.store import S3Store
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore

from infra.bucket import never_sent, pauses

Answer = TypeVar("Answer")


class PatientStore(ObjectStore[S3Store]):
    """An object store that asks again where a request was not even sent."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """The bytes of an object, or of a part of it."""
        ask = super().get
        return await _asking(lambda: ask(key, prototype, byte_range))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Parts of objects."""
        ask, wanted = super().get_partial_values, list(key_ranges)
        return await _asking(lambda: ask(prototype, wanted))

    async def set(self, key: str, value: Buffer) -> None:
        """Put an object."""
        ask = super().set
        await _asking(lambda: ask(key, value))

    async def exists(self, key: str) -> bool:
        """Whether the object is there."""
        ask = super().exists
        return await _asking(lambda: ask(key))

    async def delete(self, key: str) -> None:
        """Remove an object."""
        ask = super().delete
        await _asking(lambda: ask(key))


async def _asking(call: Callable[[], Awaitable[Answer]]) -> Answer:
    for pause in pauses():
        try:
            return await call()
        except Exception as error:
            if not never_sent(error):
                raise
        await asyncio.sleep(pause)
    return await call()
