"""Work on a set by as many processes as there are, which do not wait for each other and go on after a kill."""
