"""The one place where a parameter is named, with its unit, bounds, meaning and nested constraints.

A `ParameterSpace` is built by adding the spaces of the chosen parts of a model::

    space = implanted_space() + damage_space("tied") + diffuse_space("correlation")

Those of the instrument stand with its parts, in ``instrument``.
Lengths are in Å and angles (offset, fwhm) in seconds of arc, since these are the numbers that users write.
"""

from hrxrd_ml._parameter_space import Nested, ParameterSpace, ParameterSpec, tighten, unknown_name
from hrxrd_ml.errors import ParameterError

__all__ = [
    "MAXIMUM_STRAIN",
    "MINIMUM_STRAIN",
    "Nested",
    "ParameterSpace",
    "ParameterSpec",
    "damage_space",
    "diffuse_space",
    "implanted_space",
    "pseudo_voigt_space",
    "spline_space",
    "tighten",
    "unknown_name",
]

MINIMUM_STRAIN = 1.0e-4
"""Dmin: the strain at which the implanted profile ends."""

MAXIMUM_STRAIN = 0.03
"""Largest strain, and largest sum of both strains at the surface, of the implanted profile."""

Row = tuple[str, str, float, float, float, bool, str]
"""Name, unit, start value, lower and upper bound, whether it varies by default, meaning."""


def _space(*rows: Row, nested: tuple[Nested, ...] = ()) -> ParameterSpace:
    return ParameterSpace(tuple(ParameterSpec(*row) for row in rows), nested)


def implanted_space() -> ParameterSpace:
    """The seven-parameter profile of an implanted layer: an asymmetric Gaussian and a declining one."""
    return _space(
        ("Dmax1", "", 0.008, 0.001, MAXIMUM_STRAIN, True, "largest strain of the asymmetric Gaussian"),
        ("D01", "", 0.002, 0.0005, MAXIMUM_STRAIN, True, "strain of the asymmetric Gaussian at the surface"),
        ("L1", "Å", 5000.0, 500.0, 7000.0, True, "depth at which the asymmetric Gaussian falls to Dmin"),
        ("Rp1", "Å", 3000.0, 0.0, 7000.0, True, "depth of the maximum of the asymmetric Gaussian"),
        ("D02", "", 0.002, 0.001, MAXIMUM_STRAIN, True, "strain of the declining Gaussian at the surface"),
        ("L2", "Å", 3000.0, 500.0, 7000.0, True, "depth at which the declining Gaussian falls to Dmin"),
        ("Rp2", "Å", -500.0, -6500.0, 0.0, True, "centre of the declining Gaussian, at or above the surface"),
        nested=(
            Nested("D01", "Dmax1"),
            Nested("Rp1", "L1"),
            Nested("D02", "D01", MAXIMUM_STRAIN),
            Nested("L2", "L1"),
        ),
    )


def spline_space(n_strain: int = 10, n_damage: int = 0) -> ParameterSpace:
    """B-spline coefficients of strain (``s0``…) and of damage (``w0``…), surface first, over ``depth``."""
    if n_strain < 1 or n_damage < 0:
        raise ParameterError(f"expected at least one strain coefficient, got {n_strain} (damage: {n_damage})")
    depth = ParameterSpec("depth", "Å", 5000.0, 100.0, 50_000.0, False, "depth that the splines reach")
    strain = tuple(
        ParameterSpec(f"s{i}", "", 0.002, -0.05, 0.05, True, f"strain coefficient {i}, from the surface")
        for i in range(n_strain)
    )
    damage = tuple(
        ParameterSpec(f"w{i}", "", 0.1, 0.0, 5.0, True, f"damage coefficient {i}, from the surface")
        for i in range(n_damage)
    )
    return ParameterSpace((depth, *strain, *damage))


def pseudo_voigt_space() -> ParameterSpace:
    """Asymmetric pseudo-Voigt strain profile: one maximum, its two flanks of different width and shape."""
    return _space(
        ("depth", "Å", 5000.0, 100.0, 50_000.0, True, "depth at which the profile ends"),
        ("peak_strain", "", 0.005, -0.05, 0.05, True, "strain at the maximum"),
        ("peak_depth", "Å", 2500.0, 0.0, 50_000.0, True, "depth of the maximum"),
        ("width_front", "Å", 1500.0, 10.0, 50_000.0, True, "FWHM of the flank near the surface"),
        ("width_back", "Å", 1000.0, 10.0, 50_000.0, True, "FWHM of the deep flank"),
        ("eta_front", "", 0.2, 0.0, 1.0, True, "Lorentzian fraction of the flank near the surface"),
        ("eta_back", "", 0.2, 0.0, 1.0, True, "Lorentzian fraction of the deep flank"),
        nested=(Nested("peak_depth", "depth"),),
    )


def damage_space(kind: str, n_damage: int = 6) -> ParameterSpace:
    """Damage L(z), E = exp(-L): "none", "tied" to the strain by one number, or a "bspline" of its own."""
    match kind:
        case "none":
            return ParameterSpace()
        case "tied":
            return _space(("damage", "", 0.3, 0.0, 5.0, True, "damage W: L(z) = W·ε(z)/max ε"))
        case "bspline":
            return ParameterSpace(tuple(spec for spec in spline_space(1, n_damage) if spec.name.startswith("w")))
    raise ParameterError(f"unknown damage {kind!r}: expected none, tied or bspline")


def diffuse_space(kind: str) -> ParameterSpace:
    """Diffuse component: "none" or "correlation" (length), above a substrate's own."""
    match kind:
        case "none":
            return ParameterSpace()
        case "correlation":
            length = "substrate_correlation_length"
            return _space(
                ("substrate_damage", "", 0.01, 0.0, 1.0, True, "damage L of the substrate below the profile"),
                (length, "Å", 3000.0, 50.0, 5.0e4, True, "correlation length of defects in the substrate"),
                ("correlation_length", "Å", 100.0, 5.0, 1.0e4, True, "correlation length of defects above"),
                ("diffuse_mix", "", 0.0, 0.0, 1.0, True, "Lorentzian fraction of the layer's diffuse line shape"),
                ("substrate_diffuse_mix", "", 1.0, 0.0, 1.0, True, "the same of the substrate's"),
            )
    raise ParameterError(f"unknown diffuse component {kind!r}: expected none or correlation")
