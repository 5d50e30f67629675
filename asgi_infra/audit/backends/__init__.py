"""The backends: the only files of the audit log that import a driver."""
