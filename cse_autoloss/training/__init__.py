"""Training by gradient descent, whatever is trained."""
