"""What a person sees of a run: the live screen, the table at the end, and the files in the run directory."""
