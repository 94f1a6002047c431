"""Config files of sweeps."""
