"""A run: the loop of generations, the funnel, the pairing of the best, the final audit."""
