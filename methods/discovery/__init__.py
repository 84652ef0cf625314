"""Generalized category discovery: known classes have some labels, novel ones none, and all are to be told apart."""
