"""A package, because sofar installs one of the same name that would hide this folder from subprocesses."""
