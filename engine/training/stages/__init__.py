"""One module a stage: a RunConfig and prepared rows become a ready trainer."""
