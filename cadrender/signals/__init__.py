"""What each product is: a signal that can be read anywhere without a file, and the fast way to make several."""
