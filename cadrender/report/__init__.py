"""A report on a root: one HTML page with pictures and sound, which needs no network."""

from cadrender.report.write import WrittenReport, default_file, write_report

__all__ = ["WrittenReport", "default_file", "write_report"]
