"""The products: signals that can be read anywhere without a file, and the fast way to make several."""
