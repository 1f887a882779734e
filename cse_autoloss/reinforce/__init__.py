"""A run of REINFORCE over a parametric loss space."""
