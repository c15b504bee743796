"""Miller indices as people write them."""

import re
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from hrxrd_ml.errors import CrystalError


def parse_hkl(value: Sequence[int] | str | int, what: str = "hkl") -> tuple[int, int, int]:
    """Miller indices from three integers, four (hexagonal h k i l), text such as "444" or "-1 1 4", or 444.

    Raises
    ------
    CrystalError
        Anything else, (0, 0, 0), or i ≠ −(h + k).
    """
    expected = f"{what}: expected three Miller indices such as (4, 4, 4)"
    indices: Sequence[Any]
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        text = value.strip().strip("()[]")
        if re.fullmatch(r"(?:[-+]?\d){3,4}", text):
            indices = [int(i) for i in re.findall(r"[-+]?\d", text)]
        elif re.fullmatch(r"[-+]?\d{1,9}(?:[\s,]+[-+]?\d{1,9})+", text):
            indices = [int(i) for i in re.split(r"[\s,]+", text)]
        else:
            raise CrystalError(f"{expected}, got {value!r}")
    else:
        try:
            indices = list(value)  # type: ignore[arg-type]
        except TypeError:
            raise CrystalError(f"{expected}, got {value!r}") from None
    numbers = []
    for index in indices:
        whole = isinstance(index, Integral) or (isinstance(index, Real) and float(index).is_integer())
        if not whole or isinstance(index, bool) or abs(index) > 10_000:
            raise CrystalError(f"{expected}, all of them whole numbers to 10000, got {value!r}")
        numbers.append(int(index))
    if len(numbers) == 4:
        h, k, i, l = numbers  # noqa: E741
        if i != -(h + k):
            raise CrystalError(
                f"{what}: of four indices (h k i l) the third must be -(h + k) = {-(h + k)}, got {value!r}"
            )
        numbers = [h, k, l]
    if len(numbers) != 3:
        raise CrystalError(f"{expected}, got {value!r}")
    if not any(numbers):
        raise CrystalError(f"{expected}, got (0, 0, 0)")
    return numbers[0], numbers[1], numbers[2]
