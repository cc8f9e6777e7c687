"""From run directories to tables and curves."""
