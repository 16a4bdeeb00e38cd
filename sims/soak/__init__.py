"""What real processes survive, measured: kills, stops, partitions, torn files, hostile bytes.

``python -m sims.soak --help`` lists the commands; docs/scorecard.md has what they found.
"""
