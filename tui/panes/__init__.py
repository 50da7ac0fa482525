"""The panes: the rail's four panels on the left, and the views on the right."""
