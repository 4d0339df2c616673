"""From outputs to finished files: what is out of date and why, one run loop, one commit, and verification."""
