"""The stems' names and their order: the one place where they are written down."""

MIXTURE = "mixture"
VDBO = ("vocals", "drums", "bass", "other")
STEMS = (MIXTURE, *VDBO)
