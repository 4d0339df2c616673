"""The exceptions that cadrender raises on purpose.

Each message is one line that names the file, the offending value and what would have been accepted; the
command line prints it as it is and exits with the class's ``exit_status``.
"""


class CadrenderError(Exception):
    """Any error that cadrender reports to its user; by itself, work that failed."""

    exit_status = 1


class UsageError(CadrenderError):
    """Wrong options or settings, found before any work starts."""

    exit_status = 2


class MetadataError(UsageError):
    """A metadata file that breaks its contract, found before any work starts."""


class AudioError(CadrenderError):
    """An audio file that cannot be used: missing, damaged, or in another format than needed."""
