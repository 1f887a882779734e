"""Tasks: data, model and metric that together turn a loss into a score."""
