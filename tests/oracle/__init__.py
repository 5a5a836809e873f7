"""Edge attribution scores by brute force on plain Hugging Face models, to judge the library by.

Nothing here uses the library: what it computes is the definition, one reader at a time, with autograd.
"""
