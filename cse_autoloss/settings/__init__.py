"""Settings: one schema, one loader, one wording of what is wrong with them."""
