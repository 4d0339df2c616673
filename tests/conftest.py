"""What all tests share: hypothesis without deadlines (the first call of a kernel compiles it), the same draws
everywhere."""

from hypothesis import settings

settings.register_profile("cadrender", deadline=None, derandomize=True)
settings.load_profile("cadrender")
