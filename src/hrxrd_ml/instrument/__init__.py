"""What the instrument does to the reflectivity: convolution, background, counting.

`measure.measure` is the whole of it; the grid of angles that it works on is made in `grid`.  How to add a resolution
function or a background of your own: see `Resolution` and `Background`.
"""

from hrxrd_ml.instrument.angles import AngleGrid
from hrxrd_ml.instrument.background import Background
from hrxrd_ml.instrument.convolution import Convolution
from hrxrd_ml.instrument.counting import count
from hrxrd_ml.instrument.resolution import Resolution, Response, sampling, transform_of

__all__ = [
    "AngleGrid",
    "Background",
    "Convolution",
    "Resolution",
    "Response",
    "count",
    "sampling",
    "transform_of",
]
