"""The command line: the only place that prints. Data goes to stdout, everything else to stderr."""
