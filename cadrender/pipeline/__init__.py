"""From outputs to finished files: what is not current and why, one run loop, one commit, and the proof."""
