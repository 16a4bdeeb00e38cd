"""The life of one peer: rounds, links to its neighbours, reports of what happened."""
