"""A package, for sofar installs one of the same name, which would hide this folder from subprocesses."""
