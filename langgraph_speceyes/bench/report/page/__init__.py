"""A report's sections, as one page that needs no network and as Markdown."""
