"""Peers as operating-system processes: one here, or all of a run under a supervisor."""
