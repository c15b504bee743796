"""What the instrument does to the reflectivity: convolution, background, counting.

`measure.measure` is the whole of it; the grid of angles that it works on is made in `grid`.  How to add a resolution
function or a background of your own: see `Resolution` and `Background`.
"""

from .angles import AngleGrid
from .background import Background
from .convolution import Convolution
from .counting import count
from .resolution import Resolution, Response, sampling, transform_of

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
