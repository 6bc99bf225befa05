"""How good a retrieval method is: held-out simulated scenes with truth, metrics, tables."""
