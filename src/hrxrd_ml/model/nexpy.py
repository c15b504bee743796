"""The rocking-curve model as NeXpy lists it among its fit functions (entry point group ``nexpy.models``).

NeXpy offers every lmfit model class that it finds here, builds it with ``prefix=`` alone and gives it plain
arrays, so the reflection is fixed by the class. For another crystal, put a class like the one below into a
file in NeXpy's own folder of models.
"""

from typing import Any

from hrxrd_ml.crystal import reflection as _reflection
from hrxrd_ml.model import rocking_curve as _model

__all__ = ["GGG444RockingCurveModel"]


class GGG444RockingCurveModel(_model.RockingCurveModel):
    """Rocking curve of an implanted (111) garnet substrate, reflection GGG 444, Cu Kα1; x is ω in degrees."""

    def __init__(self, prefix: str = "", **options: Any) -> None:
        reflection = options.pop("reflection", None) or _reflection.Reflection("GGG", (4, 4, 4), "CuKa1")
        super().__init__(reflection, prefix=prefix, **options)
