"""The trained network that guesses start values: its training curves, architecture, training and evaluation.

``prior`` says what training curves are drawn from, ``shard`` simulates them and ``dataset`` keeps them in a folder.
``scale`` and ``window`` make of a curve what the network sees, ``targets`` says in which coordinates it answers, and
``features`` prepares both for a whole data set.  ``plan`` holds all settings of a network, ``network`` builds it in
torch, ``train`` trains it on what a ``feed`` gives: a data set, or curves that ``stream`` makes meanwhile.
``checkpoint`` keeps it.  ``predict`` asks it, through ``forward`` without torch, ``domain`` tells whether it may be
asked, and ``provider`` makes start values of its answers.  ``evaluate`` says how good a network is, ``describe`` what a
data set holds.

What predicts (``checkpoint``, ``domain``, ``forward``, ``plan``, ``predict``, ``provider``, ``scale``,
``window``, ``targets``) imports nothing of what trains; ``network``, ``train``, ``feed`` and ``stream`` need torch.
"""
