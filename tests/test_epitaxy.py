"""Stacks of growers against four waves in each crystal, in both polarisations (`epitaxy_cases`)."""

import numpy as np
import pytest

import epitaxy_cases


@pytest.mark.parametrize("pi", [False, True], ids=["sigma", "pi"])
@pytest.mark.parametrize("stack", epitaxy_cases.STACKS.values(), ids=epitaxy_cases.STACKS)
def test_a_stack_is_that_of_four_waves(stack, pi):
    dtheta, ours = stack.ours(pi)
    theirs = stack.theirs(dtheta, pi)
    off = np.abs(ours - theirs) / (theirs + 1e-8)
    assert np.max(off) < stack.goal
    assert np.median(off) < 1e-4
