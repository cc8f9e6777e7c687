"""Several systems' rankings of the same documents, made one."""
