"""The workshop of the network: training curves, training, evaluation.

``prior`` says what training curves are drawn from, ``shard`` simulates them and ``dataset`` keeps them in a folder;
``features`` prepares inputs and answers of a whole data set.  ``source`` makes batches while a network is trained,
instead: ``catalogue`` holds the reflections as tensors, ``simulator`` calculates what would be counted, ``landmarks``
finds where the windows lie, and ``arrays`` shows torch under NumPy's names to `prior` and `guess.network.window`.
``network`` is built in torch, ``train`` trains it by a ``recipe`` on what a ``feed`` gives.  ``evaluate`` says how good
a network is, ``describe`` what a data set holds.
"""
