"""What makes this package at home inside other tools."""
