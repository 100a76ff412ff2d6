"""An array of a record that stays what it is: encoded once something reads its bytes.

In one process nothing does, and encoding, decoding and reading the header of each array of each
site costs more than a small model's training.
"""

from functools import cached_property
from io import BytesIO
from typing import Any, Final

import numpy as np
from flwr.app import Array
from numpy.lib import format as npy
from numpy.typing import NDArray

NUMPY: Final = "numpy.ndarray"
"""How Flower calls the form of an array that is NumPy's."""

_NAMES: Final = {np.dtype(np.float32): "float32"}
"""What NumPy takes a while to say."""


class LiveArray(Array):
    """An array that holds numbers in place of their bytes.

    Parameters
    ----------
    numbers
        Not copied, and not to be written to any more by anybody.

    Attributes
    ----------
    live
        The numbers, in C order and read-only.
    """

    live: NDArray[Any]

    def __init__(self, numbers: NDArray[Any]) -> None:
        # Flower's own would encode at once.
        live = np.asarray(numbers, order="C").view()
        live.setflags(write=False)
        # Past Flower's setter, which takes longer than all of this: nothing is known of it yet.
        vars(self).update(
            live=live,
            dtype=_NAMES.get(live.dtype) or str(live.dtype),
            shape=live.shape,
            stype=NUMPY,
        )

    @cached_property
    def data(self) -> bytes:  # type: ignore[override]
        """The bytes as Flower makes them, without its buffer that grows."""
        head = BytesIO()
        npy.write_array_header_1_0(head, npy.header_data_from_array_1_0(self.live))
        return b"".join((head.getvalue(), self.live.data))

    def numpy(self) -> NDArray[Any]:
        """Return a copy, as Flower does."""
        return self.live.copy()

    def __reduce__(self) -> tuple[type[Array], tuple[str, tuple[int, ...], str, bytes]]:
        """Travel to another process as Flower's own."""
        return Array, (self.dtype, self.shape, self.stype, self.data)


# Flower writes the name of an object's class before its bytes, and reads no other.
LiveArray.__qualname__ = Array.__qualname__
