"""Sweeps: one process a job, what is finished is kept, what was cut goes on."""
