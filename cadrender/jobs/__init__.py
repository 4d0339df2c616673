"""From a root to files: the plan of what is missing, the workers that render it, the progress they make."""
