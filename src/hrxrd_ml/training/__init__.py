"""Training curves made while a network is trained: whole batches as tensors, on a CPU or a GPU.

``catalogue`` holds the reflections, ``physics`` calculates what would be counted, ``landmarks`` finds where the windows
lie, and ``source`` puts them together.  Distributions and inputs are made by `training.prior` and
`guess.network.window`, to which ``arrays`` shows torch under NumPy's names; the physics is that of
`simulate.RockingCurve`, against which the tests hold it.
"""
