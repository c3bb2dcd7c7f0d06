"""The host loop: jobs, plans, training in chunks, checkpoints, run folders, launchers."""
