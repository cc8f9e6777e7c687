"""What a run will need, from the code itself run small: memory by phase, seconds by epoch, and what fits instead."""
