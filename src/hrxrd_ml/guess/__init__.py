"""Start values: read off the curve, by the trained network, and fits in steps from them."""
