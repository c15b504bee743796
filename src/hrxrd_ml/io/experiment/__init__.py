"""Experiment files: the TOML beside a curve that says what no data file says.

Every section is one frozen dataclass, whose fields say how their values are read; every unknown key, wrong type or
impossible value is an `hrxrd_ml.errors.ExperimentError` that names the file, the key and what was expected.
"""
