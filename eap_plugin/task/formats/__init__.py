"""The file formats that prompt pairs are read from, one file each."""
