"""Going through a set's rows in the background: found by text, filtered, counted in tokens."""
