"""The message catalogues of the screen, one folder a language, and what gathers their messages."""
