"""Systems that are fitted to the whole training part at once by a library, instead of by gradient steps."""
