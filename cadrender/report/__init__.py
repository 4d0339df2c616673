"""A report on a root: one HTML page with pictures and sound, which needs no network."""

from cadrender.report.write import Made, default_file, write_report

__all__ = ["Made", "default_file", "write_report"]
