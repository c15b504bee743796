"""The rocking curve as a model of lmfit: fit, result, files."""
