"""The trained network that guesses start values, in NumPy; `hrxrd_ml.training` trains it.

``scale`` and ``window`` make of a curve what the network sees, ``targets`` says in which coordinates it answers.
``plan`` holds all settings of a network, ``checkpoint`` keeps it, ``forward`` computes it, ``domain`` tells whether it
may be asked.  ``predict`` asks it, and ``provider`` makes start values of its answers.
"""
