"""Training curves made while a network is trained: whole batches as tensors, on a CPU or a GPU.

``catalogue`` holds the reflections, ``prior`` draws experiments and parameters, ``physics`` calculates what would be
counted, ``window`` turns counts into the network's inputs, and ``source`` puts them together.  The distributions are
those of `ml.prior`, the physics that of `simulate.RockingCurve`, and the inputs those of `ml.window`; the tests hold
each against its model.
"""
