"""Many estimates at once: sweeps, studies, tables that others published."""
