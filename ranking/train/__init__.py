"""Trains Riddle's own rerankers; free to import torch and what is built on it."""
