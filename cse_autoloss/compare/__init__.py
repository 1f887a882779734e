"""Compares pairs of losses: tuned alike on validation, trained with paired seeds, scored with intervals."""
