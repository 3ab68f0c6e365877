"""A report's plots, a file for each kind of figures."""
