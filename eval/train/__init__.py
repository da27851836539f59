"""Training of the models that evaluation uses; run by hand, on a CPU or on a GPU."""
