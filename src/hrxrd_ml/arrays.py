"""Names of array types that the whole package uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]

Values = Mapping[str, Any]
"""Values of parameters by name: floats, or complex rows of `hrxrd_ml.complex_step`."""
