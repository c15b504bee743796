"""Crystals: structure, scattering, susceptibilities, and the geometry of a reflection."""
