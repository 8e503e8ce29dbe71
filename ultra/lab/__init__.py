"""The strategy lab: recorded data, backtests, what they come to, and parameters. Beside the engine, never in it."""
