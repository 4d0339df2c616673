"""The stems' names and their order."""

MIXTURE = "mixture"
VDBO = ("vocals", "drums", "bass", "other")
STEMS = (MIXTURE, *VDBO)
