"""Training with every fault that a file system, a power cut or a kill can bring: `make torture` runs all of it."""
