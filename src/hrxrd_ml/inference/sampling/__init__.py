"""What `posterior.sample` is made of.

``probability`` is the logarithm of the posterior with its gradient, and ``peaks`` are its maxima; ``hamiltonian`` moves
walkers through it.  ``surrogate`` stands in its place, made of a ``polynomial`` for the curve and of a ``quadratic``
likelihood, and ``exploration`` fits it.  ``convergence`` tells whether a chain is long enough, ``chain_file`` keeps it,
``summary`` says what it means.
"""
