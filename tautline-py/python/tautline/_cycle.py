"""The clock of a control loop, as users see it: the native class, with `async for` and typed values."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from . import _aio, _native
from ._types import CycleStatistics, Following, Wake

if TYPE_CHECKING:
    from typing_extensions import Self


class Cycle(_native.Cycle):
    """The clock of a control loop: wakes it once in each period, and never drifts. A cycle that is missed is not made up for.

    for wake in tautline.Cycle(0.001): ...        # in an event loop: async for
    """

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Wake:
        return cast(Wake, await _aio.wait(self._begin()))

    @property
    def following(self) -> Following | None:
        """How well it follows its peer. None: it follows nobody."""
        parts = self._following_parts
        return None if parts is None else Following(*parts)

    def statistics(self) -> CycleStatistics:
        """Returns what was counted so far."""
        return CycleStatistics(*self._statistics_parts)
