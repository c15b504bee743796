"""What `posterior.sample` is made of.

``probability`` is the logarithm of the posterior with its gradient; ``hamiltonian`` moves walkers through it;
``surrogate`` is a polynomial in its place, and ``exploration`` fits that one; ``convergence`` tells whether a chain is
long enough, ``chain_file`` keeps it, ``summary`` says what it means.
"""
