"""Puts any sampler to the proof: does it do what it claims, on data whose ε is known exactly?"""
