"""What is wrong with a dataset, or looks wrong: of files, of arrays, of a whole split."""
