"""cadrender: music as a hearing aid's microphones pick it up."""
