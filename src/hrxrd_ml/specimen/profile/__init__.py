"""Depth profiles, one a file; a user's own keeps to the same protocol (`base.Profile`)."""

from __future__ import annotations

from collections.abc import Mapping

from hrxrd_ml.parameters import named
from hrxrd_ml.specimen.profile.base import Profile, Segments, end_of, extreme
from hrxrd_ml.specimen.profile.function import FunctionProfile
from hrxrd_ml.specimen.profile.implanted import ImplantedProfile
from hrxrd_ml.specimen.profile.pseudo_voigt import PseudoVoigtProfile
from hrxrd_ml.specimen.profile.spline import SplineProfile

__all__ = [
    "PROFILES",
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


PROFILES: Mapping[str, type[Profile] | None] = {
    "implanted": ImplantedProfile,
    "bspline": SplineProfile,
    "pseudo_voigt": PseudoVoigtProfile,
    "none": None,
}
"""Strain profiles by the names that models, experiment files and saved files have for them."""


def make_profile(kind: str, count: int = 12) -> Profile | None:
    """Return a strain profile by name, one of `PROFILES`; ``count`` coefficients of a spline."""
    made = named("strain profile", kind, PROFILES)
    if made is SplineProfile:
        return SplineProfile(count)
    return made() if made else None
