"""report.html: everything about one run, or about all runs below a folder, as one file without a network."""
