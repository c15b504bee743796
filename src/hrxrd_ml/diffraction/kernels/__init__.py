"""Compiled kernels (numba), with their derivatives."""
