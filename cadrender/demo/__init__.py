"""A small, complete root made from scratch: synthesised songs, spherical heads, metadata."""

from cadrender.demo.root import DemoRoot, make_root

__all__ = ["DemoRoot", "make_root"]
