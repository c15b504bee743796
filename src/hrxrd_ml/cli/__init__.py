"""The command line: arguments, progress, exit codes, and what a run of it does as functions."""
