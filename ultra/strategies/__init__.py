"""Strategies that ship as examples. Yours live anywhere Python can import them, or in a file of their own."""
