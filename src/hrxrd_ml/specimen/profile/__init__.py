"""Depth profiles, one a file; a user's own keeps to the same protocol (`base.Profile`)."""

from __future__ import annotations

from collections.abc import Callable

from hrxrd_ml.errors import ParameterError
from hrxrd_ml.specimen.profile.base import Profile, Segments, end_of, extreme
from hrxrd_ml.specimen.profile.function import FunctionProfile
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile
from hrxrd_ml.specimen.profile.pseudo_voigt import PseudoVoigtProfile
from hrxrd_ml.specimen.profile.spline import SplineProfile

__all__ = [
    "FunctionProfile",
    "ImplantedProfile",
    "Profile",
    "PseudoVoigtProfile",
    "Segments",
    "SplineProfile",
    "end_of",
    "extreme",
    "make_profile",
]


def make_profile(kind: str, count: int = 12) -> Profile | None:
    """Return a strain profile by name: "implanted", "bspline", "pseudo_voigt" or "none"."""
    profiles: dict[str, Callable[[], Profile | None]] = {
        "implanted": ImplantedProfile,
        "bspline": lambda: SplineProfile(count, "s"),
        "pseudo_voigt": PseudoVoigtProfile,
        "none": lambda: None,
    }
    if kind not in profiles:
        raise ParameterError(f"unknown strain profile {kind!r}: expected one of {', '.join(profiles)}")
    return profiles[kind]()
