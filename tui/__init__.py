"""The screen of finetui: panes, widgets and the terminal layer under them."""
