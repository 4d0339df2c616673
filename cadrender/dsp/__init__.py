"""Arrays in, arrays out: transforms, convolution, loudness, gains, HRIRs. Knows no path, no scene, no file."""
