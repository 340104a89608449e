"""Labs: cutting them out of the complete kernel, building and grading what comes back, proving the labs."""
