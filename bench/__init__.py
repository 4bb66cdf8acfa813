"""What `make bench` measures: ratios within one run, on the machine at hand."""
