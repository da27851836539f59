"""What carries Riddle onto machines: images, the composition's helpers, and vLLM in an environment of its own."""
