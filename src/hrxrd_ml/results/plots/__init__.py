"""Figures of a fit: curve, residual, depth profiles.

Every function takes a dataset of `hrxrd_ml.to_dataset` (or a fit result), and a matplotlib figure to draw
into if there is one. Figures are made without pyplot: nothing pops up and nothing has to be closed; save them
with ``figure.savefig``, or let a notebook show what the function returns.
"""

from hrxrd_ml.results.plots.fit import fit, overview, profile
from hrxrd_ml.results.plots.plan import plan
from hrxrd_ml.results.plots.posterior import bands, corner, correlations, trace
from hrxrd_ml.results.plots.prediction import prediction
from hrxrd_ml.results.plots.stack import stack

__all__ = ["bands", "corner", "correlations", "fit", "overview", "plan", "prediction", "profile", "stack", "trace"]
