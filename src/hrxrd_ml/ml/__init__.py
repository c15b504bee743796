"""The trained network that guesses start values: its training curves, architecture, training and evaluation.

torch is imported by ``network``, ``train`` and ``predict`` only, when they are used.
"""
