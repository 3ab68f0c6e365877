"""Measuring the bypass: data, methods, figures."""
