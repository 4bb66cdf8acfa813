"""The benchmarks of `make bench`: ratios within one run on one machine."""
