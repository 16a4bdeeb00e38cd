"""What a run looks like from outside: numbers, run folders, live tables and plots.

Nothing here steers a run, and nothing is imported from here by a module below it. The package
imports nothing by itself, so that a peer that wants only a number loads no rich, no matplotlib.
"""
