"""Sets of questions in the forms that people have them in; ``eval.datasets.open_dataset`` tells them apart."""
